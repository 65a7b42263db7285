// GitHub's signature check for nginx with njs: WebCrypto, which is OpenSSL (njs's own SHA-256 is several times slower).

const key = require('fs').readFileSync('@secret@');

async function check(r) {
    const given = r.headersIn['X-Hub-Signature-256'];
    if (!given || given.length !== 71 || !given.startsWith('sha256=')) {
        r.return(403);
        return;
    }
    const usable = await crypto.subtle.importKey('raw', key, {name: 'HMAC', hash: 'SHA-256'}, false, ['verify']);
    const mac = Buffer.from(given.slice(7), 'hex');
    const holds = await crypto.subtle.verify('HMAC', usable, mac, r.requestBuffer || Buffer.alloc(0));
    if (holds) {
        r.internalRedirect('@origin');
    } else {
        r.return(403);
    }
}

export default {check};
