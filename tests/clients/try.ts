// Drives a running API by the types that were generated from its document: pays, repeats, waits, lists, and
// reads events. Called with the API's address and an API key.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { paths } from "./api";

const [address, key] = process.argv.slice(2);

async function main(): Promise<void> {
  const client = createClient<paths>({ baseUrl: address, headers: { "X-API-Key": key! } });
  const order = randomUUID();
  const body = { amount: "12.50", currency: "EUR", customer_id: "cus_1", payment_method: "sim_ok" } as const;
  const pay = (amount: string) =>
    client.POST("/v1/payments", {
      params: { header: { "Idempotency-Key": order } },
      body: { ...body, amount },
    });

  const first = await pay("12.50");
  assert.equal(first.response.status, 202);
  const again = await pay("12.50");
  assert.deepEqual(again.data, first.data);
  assert.equal(again.response.headers.get("Idempotent-Replayed"), "true");
  const id = first.data!.id;

  const ended = await client.GET("/v1/payments/{id}", { params: { path: { id }, query: { wait: 60 } } });
  assert.equal(ended.data?.status, "succeeded");
  const page = await client.GET("/v1/payments", { params: { query: { limit: 10 } } });
  assert.ok(page.data?.data.some((it) => it.id === id));
  const events = await client.GET("/v1/payments/{id}/events", { params: { path: { id } } });
  assert.deepEqual(events.data?.data.map((it) => it.type), ["created", "attempt_started", "succeeded"]);

  const refused = await pay("13.00");
  assert.equal(refused.error?.code, "idempotency_key_reused");
  assert.deepEqual(refused.error?.differing_fields, ["amount"]);
  console.log("ok");
}

void main();
