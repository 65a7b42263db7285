// What the SDKs of Node sign, or accept: [provider, source, headers] of each. Run by generate.py.
const given = JSON.parse(process.argv[1]);
const { now, body, secret, long, target } = given;
const millis = now * 1000;
Date.now = () => millis;
const assert = require("assert");

(async () => {
  const rows = [];
  const sanity = require("@sanity/webhook");
  rows.push(["sanity", "@sanity/webhook", {
    "sanity-webhook-signature": await sanity.encodeSignatureHeader(body, millis, secret),
  }]);
  const { Mux } = require("@mux/mux-node");
  const mux = new Mux({ tokenId: "a", tokenSecret: "b" });
  rows.push(["mux", "@mux/mux-node", {
    "mux-signature": `t=${now},v1=${await mux.webhooks.computeSignature(`${now}.${body}`, secret)}`,
  }]);
  const hygraph = require("@hygraph/utils");
  rows.push(["graphcms", "@hygraph/utils", {
    "gcms-signature": hygraph.generateWebhookSignature({ rawPayload: body, secret }),
  }]);
  const { signRequest } = require("@contentful/node-apps-toolkit");
  const type = { "content-type": "application/json; charset=utf-8" };
  const request = { method: "POST", path: target, headers: type, body };
  rows.push(["contentful", "@contentful/node-apps-toolkit", {
    ...signRequest(long, request, millis, { spaceId: "space", userId: "user" }), ...type,
  }]);
  const { WebflowClient } = require("webflow-api");
  const text = require("crypto").createHmac("sha256", secret).update(`${millis}:${body}`).digest("hex");
  const headers = { "x-webflow-signature": text, "x-webflow-timestamp": String(millis) };
  assert(await new WebflowClient({ accessToken: "x" }).webhooks.verifySignature({ headers, body, secret }));
  rows.push(["webflow", "webflow-api", headers]);
  process.stdout.write(JSON.stringify(rows));
})();
