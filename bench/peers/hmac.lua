-- GitHub's signature check for nginx: libcrypto's HMAC by FFI, one context with its key, made once for each worker.
-- A body in memory is hashed where it lies, one in a temporary file in pieces of 64 KiB.

local ffi = require "ffi"
ffi.cdef [[
    typedef struct hmac_ctx_st HMAC_CTX;
    typedef struct evp_md_st EVP_MD;
    typedef struct engine_st ENGINE;
    HMAC_CTX *HMAC_CTX_new(void);
    const EVP_MD *EVP_sha256(void);
    int HMAC_Init_ex(HMAC_CTX *ctx, const void *key, int len, const EVP_MD *md, ENGINE *impl);
    int HMAC_Update(HMAC_CTX *ctx, const unsigned char *data, size_t len);
    int HMAC_Final(HMAC_CTX *ctx, unsigned char *md, unsigned int *len);
    int CRYPTO_memcmp(const void *a, const void *b, size_t len);
    unsigned char *ngx_hex_dump(unsigned char *dst, unsigned char *src, size_t len);
]]
local C = ffi.C

local file = assert(io.open("@secret@", "rb"))
local key = file:read("*a")
file:close()

local context = C.HMAC_CTX_new()
assert(C.HMAC_Init_ex(context, key, #key, C.EVP_sha256(), nil) == 1)
local digest = ffi.new("unsigned char[32]")
local expected = ffi.new("unsigned char[71]", "sha256=")

local function hash_file(name)
    local body = assert(io.open(name, "rb"))
    while true do
        local piece = body:read(65536)
        if not piece then break end
        C.HMAC_Update(context, piece, #piece)
    end
    body:close()
end

return function()
    local given = ngx.var.http_x_hub_signature_256
    if not given or #given ~= 71 then return ngx.exit(403) end
    ngx.req.read_body()
    C.HMAC_Init_ex(context, nil, 0, nil, nil)
    local body = ngx.req.get_body_data()
    if body then
        C.HMAC_Update(context, body, #body)
    else
        local name = ngx.req.get_body_file()
        if name then hash_file(name) end
    end
    C.HMAC_Final(context, digest, nil)
    C.ngx_hex_dump(expected + 7, digest, 32)
    if C.CRYPTO_memcmp(expected, given, 71) ~= 0 then return ngx.exit(403) end
end
