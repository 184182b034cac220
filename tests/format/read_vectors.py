#!/usr/bin/env python3
"""A second reader of the entry format, from framework/kernel/FORMAT.md alone.

Reads vectors.json beside it, decodes and checks everything in it, prints "N passed, 0 failed". Python 3.11, standard
library only: BLAKE3 and Ed25519 (ZIP 215) are written out below from their specifications, for clarity and not for speed.
"""

import hashlib
import json
import pathlib
import struct
import sys

# --- BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), hash and derive_key modes ------------------------------------

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 32, 64
MASK = 0xFFFFFFFF


def compress(cv, block, counter, length, flags):
    """The first 8 words of the compression function's output."""
    v = [*cv, *IV[:4], counter & MASK, counter >> 32, length, flags]
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))

    def g(a, b, c, d, x, y):
        v[a] = (v[a] + v[b] + x) & MASK
        v[d] ^= v[a]
        v[d] = (v[d] >> 16 | v[d] << 16) & MASK
        v[c] = (v[c] + v[d]) & MASK
        v[b] ^= v[c]
        v[b] = (v[b] >> 12 | v[b] << 20) & MASK
        v[a] = (v[a] + v[b] + y) & MASK
        v[d] ^= v[a]
        v[d] = (v[d] >> 8 | v[d] << 24) & MASK
        v[c] = (v[c] + v[d]) & MASK
        v[b] ^= v[c]
        v[b] = (v[b] >> 7 | v[b] << 25) & MASK

    for _ in range(7):
        g(0, 4, 8, 12, m[0], m[1])
        g(1, 5, 9, 13, m[2], m[3])
        g(2, 6, 10, 14, m[4], m[5])
        g(3, 7, 11, 15, m[6], m[7])
        g(0, 5, 10, 15, m[8], m[9])
        g(1, 6, 11, 12, m[10], m[11])
        g(2, 7, 8, 13, m[12], m[13])
        g(3, 4, 9, 14, m[14], m[15])
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3_tree(key, flags, data, chunk=0, root=ROOT):
    """The chaining value of a subtree, or of the whole with the root flag."""
    if len(data) <= 1024:
        cv = key
        blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
        for i, block in enumerate(blocks):
            last = i == len(blocks) - 1
            marks = (CHUNK_START if i == 0 else 0) | ((CHUNK_END | root) if last else 0)
            cv = compress(cv, block, chunk, len(block), flags | marks)
        return cv
    left = 1024
    while left * 2 < len(data):
        left *= 2
    both = blake3_tree(key, flags, data[:left], chunk, 0)
    both += blake3_tree(key, flags, data[left:], chunk + left // 1024, 0)
    return compress(key, struct.pack("<16I", *both), 0, 64, flags | PARENT | root)


def blake3(data):
    return struct.pack("<8I", *blake3_tree(IV, 0, data))


def blake3_derive_key(context, data):
    key = blake3_tree(IV, DERIVE_KEY_CONTEXT, context.encode())
    return struct.pack("<8I", *blake3_tree(key, DERIVE_KEY_MATERIAL, data))


# --- Ed25519 by the rules of ZIP 215 ----------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def add(a, b):
    """Sum of points in extended coordinates; complete for this curve."""
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e = (x1 + y1) * (x2 + y2) - x1 * x2 - y1 * y2
    c, d = 2 * t1 * t2 * D, 2 * z1 * z2
    aa, bb = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
    e, f, g, h = bb - aa, d - c, d + c, bb + aa
    return e * f % P, g * h % P, f * g % P, e * h % P


ZERO = (0, 1, 1, 0)


def multiply(n, point):
    total = ZERO
    while n:
        if n & 1:
            total = add(total, point)
        point = add(point, point)
        n >>= 1
    return total


def is_zero(point):
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


def decompress(encoding):
    """The point, or None. y may be p or more, and x = 0 may carry a sign."""
    number = int.from_bytes(encoding, "little")
    sign, y = number >> 255, (number & (2**255 - 1)) % P
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if (v * x * x - u) % P:
        return None
    if x % 2 != sign:
        x = -x % P
    return x, y, 1, x * y % P


def compress_point(point):
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def verify(key, message, signature):
    a, r = decompress(key), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    minus_s = multiply(L - s, BASE)
    return is_zero(multiply(8, add(add(r, multiply(k, a)), minus_s)))


def public_key(seed):
    scalar, _ = expand(seed)
    return compress_point(multiply(scalar, BASE))


def expand(seed):
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest[:32], "little"), bytes(digest[32:])


def sign(seed, message):
    scalar, prefix = expand(seed)
    key = compress_point(multiply(scalar, BASE))
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % L
    start = compress_point(multiply(r, BASE))
    k = int.from_bytes(hashlib.sha512(start + key + message).digest(), "little") % L
    return start + ((r + k * scalar) % L).to_bytes(32, "little")


# --- Primitives (section 1) -------------------------------------------------------------------------------------------


class Broken(Exception):
    """The bytes break a rule; the message is the reason as vectors.json names it."""


class Reader:
    """Reads the encoding. Needless varint bytes are remembered, not fatal: what else is wrong is named first."""

    def __init__(self, data):
        self.data, self.at, self.canonical = data, 0, True

    def bytes(self, n):
        if n > len(self.data) - self.at:
            raise Broken("truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def varint(self, bits):
        value, shift = 0, 0
        while True:
            byte = self.bytes(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift >= bits:
                raise Broken("varint out of range")
        if value >> bits:
            raise Broken("varint out of range")
        if shift > 7 and byte == 0:
            self.canonical = False
        return value

    def u8(self):
        return self.bytes(1)[0]

    def blob(self):
        return self.bytes(self.varint(64))

    def text(self):
        try:
            return self.blob().decode("utf-8")
        except UnicodeDecodeError:
            raise Broken("not UTF-8") from None

    def option(self, read):
        tag = self.u8()
        if tag > 1:
            raise Broken("unknown option tag")
        return read() if tag else None

    def list(self, read):
        return [read() for _ in range(self.varint(64))]

    def variant(self, count):
        number = self.varint(32)
        if number >= count:
            raise Broken("unknown variant")
        return number

    def end(self):
        if self.at != len(self.data):
            raise Broken("trailing bytes")
        if not self.canonical:
            raise Broken("non-canonical varint")


def ascending(what, items):
    for a, b in zip(items, items[1:]):
        if a == b:
            raise Broken(f"duplicate {what}")
        if a > b:
            raise Broken(f"unsorted {what}")


def at_most(what, count, limit):
    if count > limit:
        raise Broken(f"too many {what}")


# --- Header, envelope, rights operation (sections 3, 4, 6, 7) ---------------------------------------------------------


def read_key(r):
    r.variant(1)
    return "ed25519:" + r.bytes(32).hex()


def read_header(data):
    if len(data) > 65536:
        raise Broken("too long a header")
    if not data:
        raise Broken("truncated")
    if data[0] != 1:
        raise Broken("another version")
    r = Reader(data)
    header = {"version": r.u8()}
    if r.variant(2) == 0:
        header["tree"] = {"root_nonce": r.bytes(16).hex()}
    else:
        header["tree"] = {"of": r.bytes(32).hex()}
    ids = lambda: r.list(lambda: r.bytes(32).hex())
    header["parents"] = ids()
    header["clock"] = r.varint(64)
    header["author"] = read_key(r)
    header["author_prev"] = r.option(lambda: r.bytes(32).hex())
    header["author_seq"] = r.varint(64)
    header["rights"] = ids()
    header["stores"] = r.list(
        lambda: {
            "name": r.text(),
            "kind": r.text(),
            "payload_hash": r.bytes(32).hex(),
            "payload_bytes": r.varint(32),
        }
    )
    header["ext"] = r.list(lambda: {"tag": r.varint(16), "bytes": r.blob().hex()})
    r.end()

    at_most("parents", len(header["parents"]), 32)
    at_most("rights", len(header["rights"]), 256)
    at_most("stores", len(header["stores"]), 64)
    ascending("parents", header["parents"])
    ascending("rights", header["rights"])
    ascending("stores", [(s["name"].encode(), s["kind"].encode()) for s in header["stores"]])
    ascending("ext", [e["tag"] for e in header["ext"]])
    system = [s["name"] for s in header["stores"] if s["name"].startswith("_")]
    if len(system) != len(set(system)):
        raise Broken("two kinds of a system store")
    for store in header["stores"]:
        if not 1 <= len(store["name"].encode()) <= 128:
            raise Broken("length of a store's name")
        if not 1 <= len(store["kind"].encode()) <= 64:
            raise Broken("length of a store's kind")
        if store["payload_bytes"] > 16777216:
            raise Broken("too long a payload")
    if "root_nonce" in header["tree"]:
        if header["parents"] or header["rights"] or header["author_prev"]:
            raise Broken("a root with a past")
    elif not header["parents"]:
        raise Broken("no parents")
    elif not header["rights"]:
        raise Broken("no rights")
    if (header["author_prev"] is None) != (header["author_seq"] == 0):
        raise Broken("author_seq without author_prev")
    return header


def read_envelope(data):
    if len(data) > 16777216:
        raise Broken("too long a payload")
    r = Reader(data)
    envelope = {"salt": r.bytes(16).hex()}
    envelope["codec"] = "plain" if r.variant(2) == 0 else {"sealed": r.bytes(16).hex()}
    envelope["version"] = r.varint(16)
    envelope["body"] = r.blob().hex()
    r.end()
    return envelope


def read_rights_op(data):
    r = Reader(data)
    permission = lambda: ("read", "write", "admin")[r.variant(3)]
    keep = lambda: r.list(lambda: r.bytes(32).hex())
    grantee = lambda: "*" if r.variant(2) == 0 else read_key(r)
    number = r.variant(3)
    if number == 0:
        op = {"op": "grant", "to": grantee()}
        right = ("read", "admit", "write", "admin")[r.variant(4)]
        op["right"] = {"admit": {"cap": permission(), "seniority_min": r.varint(32)}} if right == "admit" else right
        op["seniority"] = r.varint(32)
        op["stores"] = "all" if r.variant(2) == 0 else r.list(r.text)
        op["keep"] = keep()
    elif number == 1:
        op = {"op": "revoke", "from": grantee(), "keep": keep()}
    else:
        op = {"op": "merge"}
    r.end()
    if isinstance(op.get("stores"), list):
        ascending("stores", [name.encode() for name in op["stores"]])
    ascending("keep", op.get("keep", []))
    return op


def entry_id(header):
    return blake3_derive_key("eidetica 1 entry id", header)


def payload_hash(payload):
    return blake3_derive_key("eidetica 1 payload", payload)


def signed_message(id):
    return b"eidetica 1 entry signature\0" + id


# --- The vectors ------------------------------------------------------------------------------------------------------


def unpack(value):
    """Hex, or a list of [hex, repetitions]."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return b"".join(bytes.fromhex(part) * count for part, count in value)


def expect(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: found {str(found)[:400]}, the vector says {str(wanted)[:400]}")


def check_hash(v):
    data = unpack(v["input"])
    found = blake3_derive_key(v["context"], data) if v["context"] else blake3(data)
    expect(found.hex(), v["output"], "hash")


def check_varint(v):
    r = Reader(unpack(v["bytes"]))
    value = r.varint(v["bits"])
    r.end()
    if "reason" not in v:
        expect(value, int(v["value"]), "value")


def check_header(v):
    data = unpack(v["bytes"])
    fields = read_header(data)
    if "reason" not in v:
        for extension in v["fields"]["ext"]:
            extension["bytes"] = unpack(extension["bytes"]).hex()
        expect(fields, v["fields"], "fields")
        expect(entry_id(data).hex(), v["id"], "id")


def check_envelope(v):
    data = unpack(v["bytes"])
    fields = read_envelope(data)
    if "reason" not in v:
        expect(fields, v["fields"], "fields")
        expect(payload_hash(data).hex(), v["hash"], "hash")


def check_rights_op(v):
    fields = read_rights_op(unpack(v["bytes"]))
    if "reason" not in v:
        expect(fields, v["fields"], "fields")


def check_entry(v):
    header, seed = unpack(v["header"]), unpack(v["seed"])
    fields = read_header(header)
    id = entry_id(header)
    expect(id.hex(), v["id"], "id")
    expect(public_key(seed).hex(), fields["author"].removeprefix("ed25519:"), "key")
    message = signed_message(id)
    expect(sign(seed, message).hex(), v["signature"], "signature")
    expect(verify(public_key(seed), message, unpack(v["signature"])), True, "verification")
    for store, payload in zip(fields["stores"], v["payloads"], strict=True):
        payload = unpack(payload)
        read_envelope(payload)
        expect(payload_hash(payload).hex(), store["payload_hash"], "payload hash")
        expect(len(payload), store["payload_bytes"], "payload length")


def check_signature(v):
    expect(verify(unpack(v["key"]), unpack(v["message"]), unpack(v["signature"])), v["valid"], "verification")


CHECKS = {
    "hashes": check_hash,
    "varints": check_varint,
    "headers": check_header,
    "envelopes": check_envelope,
    "rights_ops": check_rights_op,
    "entries": check_entry,
    "signatures": check_signature,
}


def outcome(check, vector):
    """None if the vector holds, else what is wrong."""
    try:
        check(vector)
    except Broken as broken:
        found, wanted = str(broken), vector.get("reason")
        return None if found == wanted else f"refused as {found!r}, the vector says {wanted!r}"
    except AssertionError as wrong:
        return str(wrong)
    if "reason" in vector:
        return f"accepted, the vector says {vector['reason']!r}"
    return None


def main():
    vectors = json.loads((pathlib.Path(__file__).parent / "vectors.json").read_text())
    expect(sorted(vectors), sorted([*CHECKS, "format"]), "sections")
    expect(vectors.pop("format"), 1, "format")
    passed = failed = 0
    for section, check in CHECKS.items():
        for vector in vectors[section]:
            wrong = outcome(check, vector)
            if wrong is None:
                passed += 1
            else:
                failed += 1
                print(f"{section}, {vector['name']}: {wrong}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
