// Write `node.json`: deliveries that the providers' own SDKs for Node sign, or accept as genuine.
// Run by hand, in a folder with the SDKs; see README.md. A vector is kept only if its SDK takes it.

import crypto from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const NOW = 1764000000;
const SECRET = "a secret of the tests";
const BODY = '{"event":"ping","text":"zażółć \\"x\\" 🎉"}';
const WHSEC = "whsec_" + Buffer.from(Array.from({ length: 32 }, (_, at) => at)).toString("base64");

const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [NOW * 1000]));
  }
  static now() {
    return NOW * 1000;
  }
};

const vectors = [];
const mac = (text, encoding, key = SECRET) => crypto.createHmac("sha256", key).update(text).digest(encoding);
const spki = (key) => key.export({ format: "der", type: "spki" });

function add(provider, name, headers, more = {}) {
  const version = JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version;
  const row = { provider, source: `${name} ${version} (Node)`, secret: SECRET, method: "POST", target: "/in?b=2&a=1" };
  vectors.push({ ...row, now: NOW, headers: Object.entries(headers), body: BODY, covered: true, ...more });
}

function check(good) {
  if (!good) throw new Error("the SDK refuses it");
}

const SDKS = {
  async "@octokit/webhooks-methods"(name) {
    const { sign, verify } = await import(name);
    const signature = await sign(SECRET, BODY);
    check(await verify(SECRET, BODY, signature));
    add("github", name, { "X-Hub-Signature-256": signature });
  },
  async "@line/bot-sdk"(name) {
    const signature = mac(BODY, "base64");
    check(require(name).validateSignature(BODY, SECRET, signature));
    add("line", name, { "x-line-signature": signature });
  },
  async "@shopify/shopify-api"(name) {
    require(`${name}/adapters/node`);
    const { shopifyApi, ApiVersion } = require(name);
    const shop = shopifyApi({
      ...{ apiKey: "k", apiSecretKey: SECRET, scopes: ["x"], hostName: "a.example", isEmbeddedApp: true },
      ...{ apiVersion: Object.values(ApiVersion)[0], logger: { level: 0 } },
    });
    for (const [provider, before] of [["shopify", "x-shopify-"], ["shopify_events", "shopify-"]]) {
      const headers = { "hmac-sha256": mac(BODY, "base64"), topic: "orders/create", "webhook-id": "w", "event-id": "e" };
      Object.assign(headers, { "shop-domain": "a.myshopify.com", "api-version": "2025-01" });
      const named = Object.fromEntries(Object.entries(headers).map(([key, value]) => [before + key, value]));
      const rawRequest = { headers: named, method: "POST", url: "/" };
      check((await shop.webhooks.validate({ rawBody: BODY, rawRequest, rawResponse: {} })).valid);
      add(provider, name, named);
    }
  },
  async razorpay(name) {
    const signature = mac(BODY, "hex");
    check(require(name).validateWebhookSignature(BODY, signature, SECRET));
    add("razorpay", name, { "X-Razorpay-Signature": signature });
  },
  async "@adyen/api-library"(name) {
    const key = "00ff".repeat(16);
    const validator = new (require(name).hmacValidator)();
    const signature = validator.calculateHmac(BODY, key);
    check(validator.validateBankingHMAC(signature, key, BODY));
    add("adyen_platform", name, { HmacSignature: signature }, { secret: key });
    add("adyen_management", name, { HmacSignature: signature }, { secret: key });
  },
  async svix(name) {
    const webhook = new (require(name).Webhook)(WHSEC);
    const signed = (body) => ({
      ...{ "svix-id": "msg_1", "svix-timestamp": String(NOW) },
      "svix-signature": webhook.sign("msg_1", new RealDate(NOW * 1000), body),
    });
    webhook.verify(BODY, signed(BODY));
    add("svix", name, signed(BODY), { secret: WHSEC });
    const event = '{"type":"user.created","data":{"id":"u"},"object":"event"}';
    const { verifyWebhook } = require("@clerk/backend/webhooks");
    const init = { method: "POST", body: event, headers: signed(event) };
    await verifyWebhook(new Request("https://a.example/", init), { signingSecret: WHSEC });
    add("clerk", "@clerk/backend", signed(event), { secret: WHSEC, body: event });
    const { Resend } = require("resend");
    const headers = { id: "msg_1", timestamp: String(NOW), signature: signed(BODY)["svix-signature"] };
    new Resend("re_x").webhooks.verify({ payload: BODY, headers, webhookSecret: WHSEC });
    add("resend", "resend", signed(BODY), { secret: WHSEC });
  },
  async standardwebhooks(name) {
    const { Webhook } = require(name);
    const signed = (secret, body = BODY) => ({
      ...{ "webhook-id": "msg_1", "webhook-timestamp": String(NOW) },
      "webhook-signature": new Webhook(secret).sign("msg_1", new RealDate(NOW * 1000), body),
    });
    new Webhook(WHSEC).verify(BODY, signed(WHSEC));
    add("standard_webhooks", name, signed(WHSEC), { secret: WHSEC });
    const OpenAI = require("openai").default ?? require("openai");
    const raw = Buffer.from("raw-secret").toString("base64");
    for (const [secret, key] of [[WHSEC, WHSEC], ["raw-secret", raw]]) {
      await new OpenAI({ apiKey: "x", webhookSecret: secret }).webhooks.unwrap(BODY, signed(key));
      add("openai", "openai", signed(key), { secret });
    }
    const { validateWebhook } = require("replicate");
    const signature = signed(WHSEC)["webhook-signature"];
    check(await validateWebhook({ id: "msg_1", timestamp: String(NOW), body: BODY, secret: WHSEC, signature }));
    add("replicate", "replicate", signed(WHSEC), { secret: WHSEC });
    const event = '{"type":"userEntered","data":{}}';
    const { WebhookHandler } = require("@liveblocks/node");
    new WebhookHandler(WHSEC).verifyRequest({ headers: signed(WHSEC, event), rawBody: event });
    add("liveblocks", "@liveblocks/node", signed(WHSEC, event), { secret: WHSEC, body: event });
    const { validateEvent } = await import("@polar-sh/sdk/webhooks");
    const polar = "polar_whs_abc";
    const headers = signed(Buffer.from(polar).toString("base64"));
    try {
      validateEvent(BODY, headers, polar);
    } catch (error) {
      if (error.name !== "SDKValidationError") throw error; // of the event's content, behind the signature
    }
    add("polar", "@polar-sh/sdk", headers, { secret: polar });
  },
  async "livekit-server-sdk"(name) {
    const { AccessToken, WebhookReceiver } = require(name);
    const body = '{"event":"room_started","id":"e"}';
    const token = new AccessToken("APIk", SECRET, { ttl: "5m" });
    token.sha256 = crypto.createHash("sha256").update(body).digest("base64");
    const value = await token.toJwt();
    await new WebhookReceiver("APIk", SECRET).receive(body, value);
    add("livekit", name, { Authorization: value }, { secret: `APIk:${SECRET}`, body });
  },
  async "discord-interactions"(name) {
    const pair = crypto.generateKeyPairSync("ed25519");
    const key = spki(pair.publicKey).subarray(-32).toString("hex");
    const signature = crypto.sign(null, Buffer.from(NOW + BODY), pair.privateKey).toString("hex");
    check(await require(name).verifyKey(BODY, signature, String(NOW), key));
    const headers = { "X-Signature-Ed25519": signature, "X-Signature-Timestamp": String(NOW) };
    add("discord", name, headers, { secret: key });
  },
  async "@sendgrid/eventwebhook"(name) {
    const pair = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
    const key = spki(pair.publicKey).toString("base64");
    const signature = crypto.sign("sha256", Buffer.from(NOW + BODY), pair.privateKey).toString("base64");
    const webhook = new (require(name).EventWebhook)();
    check(webhook.verifySignature(webhook.convertPublicKeyToECDSA(key), BODY, signature, String(NOW)));
    const before = "X-Twilio-Email-Event-Webhook-";
    add("sendgrid", name, { [before + "Signature"]: signature, [before + "Timestamp"]: String(NOW) }, { secret: key });
  },
  async telnyx(name) {
    const pair = crypto.generateKeyPairSync("ed25519");
    const key = spki(pair.publicKey).subarray(-32).toString("base64");
    const signature = crypto.sign(null, Buffer.from(`${NOW}|${BODY}`), pair.privateKey).toString("base64");
    const headers = { "telnyx-signature-ed25519": signature, "telnyx-timestamp": String(NOW) };
    await new (require(name).default ?? require(name))({ apiKey: "x", publicKey: key }).webhooks.unwrap(BODY, { headers, key });
    add("telnyx", name, headers, { secret: key });
  },
  async "@notionhq/client"(name) {
    const { signWebhookPayload } = require(name);
    const signature = await signWebhookPayload({ body: BODY, verificationToken: SECRET });
    add("notion", name, { "X-Notion-Signature": signature });
  },
  async "@linear/sdk"(name) {
    const { LinearWebhookClient } = await import(`${name}/webhooks`);
    const body = JSON.stringify({ action: "create", webhookTimestamp: NOW * 1000 });
    check(new LinearWebhookClient(SECRET).verify(Buffer.from(body), mac(body, "hex"), NOW * 1000));
    add("linear", name, { "Linear-Signature": mac(body, "hex") }, { body });
  },
  async "modern-treasury"(name) {
    const client = new (require(name).default ?? require(name))({ apiKey: "x", organizationID: "y", webhookKey: SECRET });
    const signature = client.webhooks.getSignature(BODY, SECRET);
    check(client.webhooks.validateSignature(BODY, { "X-Signature": signature }, SECRET));
    add("modern_treasury", name, { "X-Signature": signature });
  },
  async "gocardless-nodejs"(name) {
    const body = '{"events":[]}';
    require(`${name}/webhooks`).parse(body, SECRET, mac(body, "hex"));
    add("gocardless", name, { "Webhook-Signature": mac(body, "hex") }, { body });
  },
  async "coinbase-commerce-node"(name) {
    const body = '{"event":{"id":"1"}}';
    require(name).Webhook.verifySigHeader(body, mac(body, "hex"), SECRET);
    add("coinbase", name, { "X-CC-Webhook-Signature": mac(body, "hex") }, { body });
  },
  async pusher(name) {
    const body = '{"time_ms":1764000000000,"events":[]}';
    const headers = { "x-pusher-key": "k", "x-pusher-signature": mac(body, "hex") };
    const client = new (require(name))({ appId: "1", key: "k", secret: SECRET });
    check(client.webhook({ headers: { ...headers, "content-type": "application/json" }, rawBody: body }).isValid());
    add("pusher", name, headers, { body });
  },
  async "connect-sdk-nodejs"(name) {
    const { newSignatureValidator } = require(`${name}/lib/webhooks/validation`);
    const headers = { "X-GCS-Signature": mac(BODY, "base64"), "X-GCS-KeyId": "k1" };
    const listed = Object.entries(headers).map(([key, value]) => ({ key, value }));
    await newSignatureValidator({ getSecretKey: async () => SECRET }).validate(BODY, headers, listed);
    add("worldline", name, headers);
  },
  async "twitter-autohook"(name) {
    const headers = { "x-twitter-webhooks-signature": "sha256=" + mac(BODY, "base64") };
    check(require(name).validateSignature(headers, { consumer_secret: SECRET }, BODY));
    add("twitter", name, headers);
  },
  async "@vonage/jwt"(name) {
    const hash = crypto.createHash("sha256").update(BODY).digest("hex");
    const claims = { iat: NOW, jti: "j", iss: "Vonage", payload_hash: hash, api_key: "a", application_id: "b" };
    const token = require("jsonwebtoken").sign(claims, SECRET, { algorithm: "HS256" });
    check(require(name).verifySignature(token, SECRET));
    add("vonage", name, { Authorization: `Bearer ${token}` });
  },
  async "event-notification-nodejs-sdk"(name) {
    const pair = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
    const key = pair.publicKey.export({ format: "pem", type: "spki" }).replaceAll("\n", ""); // as eBay shows it
    require(`${name}/lib/client`).getPublicKey = async () => ({ key });
    const body = '{"metadata":{"topic":"MARKETPLACE_ACCOUNT_DELETION"}}';
    const signature = crypto.sign("sha1", Buffer.from(body), pair.privateKey).toString("base64");
    const header = JSON.stringify({ alg: "ecdsa", kid: "k", signature, digest: "SHA1" });
    const value = Buffer.from(header).toString("base64");
    check(await require(`${name}/lib/validator`).validateSignature(JSON.parse(body), value, {}));
    add("ebay", name, { "X-EBAY-SIGNATURE": value }, { secret: key, body });
  },
  async "@hookdeck/sdk"(name) {
    const headers = { "x-hookdeck-signature": mac(BODY, "base64") };
    const { verifyWebhookSignature } = require(`${name}/webhooks/helpers`);
    check((await verifyWebhookSignature({ headers, rawBody: BODY, signingSecret: SECRET })).isValidSignature);
    add("hookdeck", name, headers);
  },
  async "sns-validator"(name) {
    const pair = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
    const key = pair.publicKey.export({ format: "pem", type: "spki" });
    require("node:https").get = (_url, answer) => {
      const stream = Object.assign(require("node:stream").Readable.from([key]), { statusCode: 200 });
      answer(stream);
      return stream;
    };
    const usual = { MessageId: "m-1", TopicArn: "arn:aws:sns:us-east-1:1:t", Timestamp: "2025-11-24T16:00:00.000Z" };
    const kinds = [
      { Type: "Notification", Subject: "S", Message: "one\ntwo" },
      { Type: "Notification", Message: "without a subject" },
      { Type: "SubscriptionConfirmation", Message: "m", Token: "t", SubscribeURL: "https://sns.example.com/" },
    ];
    for (const [at, kind] of kinds.entries()) {
      for (const [version, digest] of [["1", "sha1"], ["2", "sha256"]]) {
        const message = { ...usual, ...kind, SignatureVersion: version };
        const names = Object.keys(message).filter((one) => one !== "SignatureVersion");
        const text = names.sort().map((one) => `${one}\n${message[one]}\n`).join("");
        message.Signature = crypto.sign(digest, Buffer.from(text), pair.privateKey).toString("base64");
        message.SigningCertURL = `https://sns.us-east-1.amazonaws.com/${at}.pem`;
        await new Promise((done, fail) => new (require(name))().validate(message, (error) => (error ? fail(error) : done())));
        const more = { secret: key, body: JSON.stringify(message), covered: false, topics: [usual.TopicArn] };
        add("sns", name, {}, more);
      }
    }
  },
};

for (const [name, make] of Object.entries(SDKS)) await make(name);
fs.writeFileSync("node.json", JSON.stringify(vectors, null, 1) + "\n");
console.log(`${vectors.length} vectors`);
process.exit(0);
