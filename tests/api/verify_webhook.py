"""Verifies one webhook with the library of the standard's authors. Reads JSON, exits 0 or 1."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

asked = json.load(sys.stdin)
try:
    Webhook(asked["secret"]).verify(asked["payload"], asked["headers"])
except WebhookVerificationError:
    sys.exit(1)
