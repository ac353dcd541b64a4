"""Holds deliveries, one a line of standard input, against the published library of Standard Webhooks."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def is_taken(secret, body, headers):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


for line in sys.stdin:
    it = json.loads(line)
    headers, body = it["headers"], it["body"]
    for secret in it["secrets"]:
        assert is_taken(secret, body, headers), it
        assert not is_taken(secret, body.replace("pay", "paz", 1), headers), "a changed body was taken"
        old = dict(headers, **{"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 3600)})
        assert not is_taken(secret, body, old), "an old timestamp was taken"
    assert not is_taken("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", body, headers), "another secret fits"
print("ok")
