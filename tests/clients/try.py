"""Drives a running API by the client that was generated from its document: pays, repeats, waits, lists, and
reads events. Called with the API's address and an API key; the client is the package `payonce_client`."""

import sys
import uuid

from payonce_client import AuthenticatedClient
from payonce_client.api.payments import create_payment, get_payment, list_payment_events, list_payments
from payonce_client.models.payment import Payment
from payonce_client.models.payment_request import PaymentRequest
from payonce_client.models.payment_request_currency import PaymentRequestCurrency
from payonce_client.models.problem import Problem

address, key = sys.argv[1:]
client = AuthenticatedClient(base_url=address, token=key)
order = str(uuid.uuid4())
request = PaymentRequest(amount="12.50", currency=PaymentRequestCurrency.EUR, customer_id="cus_1", payment_method="sim_ok")

first = create_payment.sync_detailed(client=client, body=request, idempotency_key=order)
assert first.status_code == 202, first
assert first.headers["idempotent-replayed"] == "false", first.headers
again = create_payment.sync_detailed(client=client, body=request, idempotency_key=order)
assert again.content == first.content, "a repeat has another answer"
assert again.headers["idempotent-replayed"] == "true", again.headers
payment = first.parsed
assert isinstance(payment, Payment), payment

ended = get_payment.sync(payment.id, client=client, wait=60)
assert isinstance(ended, Payment) and ended.status == "succeeded", ended
page = list_payments.sync(client=client, limit=10)
assert payment.id in [it.id for it in page.data], page
events = list_payment_events.sync(payment.id, client=client)
assert [it.type_ for it in events.data] == ["created", "attempt_started", "succeeded"], events

request.amount = "13.00"
refused = create_payment.sync(client=client, body=request, idempotency_key=order)
assert isinstance(refused, Problem) and refused.code == "idempotency_key_reused", refused
assert refused.differing_fields == ["amount"], refused
print("ok")
