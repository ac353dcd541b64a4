"""What the document of the API cannot say: how a valid request is made that nobody has made before."""

import sys
import uuid

import schemathesis
from schemathesis import GenerationMode

# Deep strategies take more frames than Python allows by default.
sys.setrecursionlimit(10_000)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Gives each valid request an idempotency key of its own, and values that fit together."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    # A cursor is made by an answer, and some filters go only with others.
    apart = ("cursor", "amount", "metadata", "created_", "after", "types")
    for name in [name for name in case.query or {} if name.startswith(apart)]:
        del case.query[name]
    # An account is shown as it stood, and the future has not come.
    if "at" in (case.query or {}):
        case.query["at"] = "2026-01-01T00:00:00Z"
    if not isinstance(case.body, dict):
        return
    if case.operation.definition.raw.get("operationId") == "create_payment":
        # An amount fits its currency, ids are clean, and no text is a card number.
        case.body.update(amount="12", currency="EUR", customer_id="cus_" + uuid.uuid4().hex, payment_method="sim_ok")
        case.body.pop("description", None)
        case.body.pop("metadata", None)
    if "url" in case.body:
        case.body.update(url="https://example.com/hooks")
        case.body.pop("description", None)
        case.body.pop("types", None)
    # The key has a name of its own, and these go with each other in some ways only.
    for name in ("by", "charge_id", "unproven"):
        case.body.pop(name, None)
    if case.operation.definition.raw.get("operationId") != "decide_reviews":
        case.body.pop("decision", None)
    if "reason" in case.body:
        case.body["reason"] = "because"
    if case.operation.definition.raw.get("operationId") == "propose_correction":
        case.body["amount"] = "0"
    # An owner is clean, and a hold ends in the future.
    case.body.pop("external_id", None)
    case.body.pop("note", None)
    if "payments" in case.body:
        case.body["payments"] = ["pay_" + uuid.uuid4().hex]
    if "owner" in case.body:
        case.body["owner"] = "cus_" + uuid.uuid4().hex
    for transfer in [case.body, *(case.body.get("transfers") or [])]:
        if "from" in transfer:
            transfer.update(amount="12", currency="EUR", to="acc_" + uuid.uuid4().hex)
            transfer.pop("expires_at", None)
    if case.operation.definition.raw.get("operationId") == "refund_payment":
        # So little that there is always as much left.
        case.body.update(amount="0.01", metadata=None)
    if case.operation.definition.raw.get("operationId") == "post_transfer":
        case.body.pop("amount", None)
