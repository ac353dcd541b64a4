// Holds deliveries, one a line of standard input, against the published library of Standard Webhooks.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const isTaken = (secret, body, headers) => {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
};

for (const line of readFileSync(0, "utf8").split("\n").filter((line) => line !== "")) {
  const { secrets, body, headers } = JSON.parse(line);
  for (const secret of secrets) {
    assert(isTaken(secret, body, headers), line);
    assert(!isTaken(secret, body.replace("pay", "paz"), headers), "a changed body was taken");
    const old = { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) - 3600) };
    assert(!isTaken(secret, body, old), "an old timestamp was taken");
  }
  assert(!isTaken("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", body, headers), "another secret fits");
}
console.log("ok");
