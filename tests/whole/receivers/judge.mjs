// Run by test_receivers.py: what the libraries of GitHub, Linear and Shopify make of deliveries; as judge.py, for those of node.
import { Webhooks } from "@octokit/webhooks";
import { LinearWebhookClient } from "@linear/sdk/webhooks";
import "@shopify/shopify-api/adapters/node";
import { shopifyApi, ApiVersion } from "@shopify/shopify-api";

const judges = {
  async github({ secret, fields, body, form }) {
    const webhooks = new Webhooks({ secret });
    let seen = "nothing";
    webhooks.onAny(({ name, payload }) => { seen = `${name} ${payload.repository.full_name}`; });
    if (form) {
      if (!(await webhooks.verify(body, fields["x-hub-signature-256"]))) throw new Error("not signed");
      return `form ${JSON.parse(new URLSearchParams(body).get("payload")).repository.full_name}`;
    }
    await webhooks.verifyAndReceive({
      id: fields["x-github-delivery"], name: fields["x-github-event"], signature: fields["x-hub-signature-256"],
      payload: body,
    });
    return seen;
  },
  async linear({ secret, fields, body }) {
    // It wants a time of now, in the body.
    const event = new LinearWebhookClient(secret).parseData(Buffer.from(body), fields["linear-signature"]);
    return `${event.type} ${event.action} ${event.data.identifier}`;
  },
  async shopify({ secret, fields, body }) {
    const shopify = shopifyApi({
      apiKey: "k", apiSecretKey: secret, apiVersion: ApiVersion.January25, hostName: "hooks.example.com",
      isEmbeddedApp: false, scopes: [], logger: { level: 0 },
    });
    const rawRequest = { method: "POST", url: "/shopify", headers: fields };
    const found = await shopify.webhooks.validate({ rawBody: body, rawRequest });
    if (!found.valid) throw new Error(found.reason);
    return `${found.topic} ${found.domain} ${found.apiVersion}`;
  },
};

const pieces = [];
for await (const piece of process.stdin) pieces.push(piece);
const verdicts = [];
for (const one of JSON.parse(Buffer.concat(pieces).toString())) {
  const fields = Object.fromEntries(one.fields.map(([name, value]) => [name.toLowerCase(), value]));
  const body = Buffer.from(one.body, "base64").toString("utf8");
  const form = (fields["content-type"] || "").startsWith("application/x-www-form-urlencoded");
  try {
    verdicts.push(await judges[one.provider]({ ...one, fields, body, form }));
  } catch (error) {
    verdicts.push(`refused: ${error.message}`);
  }
}
process.stdout.write(JSON.stringify(verdicts));
