//! Tokens of each algorithm, and everything that may be wrong with one.

use hmac::{KeyInit as _, Mac as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::json;

use super::*;

/// A moment, in seconds since 1970.
const NOW: f64 = 1_800_000_000.0;

/// A key of 2,048 bits (PKCS #8), for these tests alone.
const RSA: &[u8] = include_bytes!("tests/rsa.der");

/// An issuer with a key of each kind. Its key ids are the names of the algorithms.
struct TestIssuer {
    ed25519: Ed25519KeyPair,
    p256: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl TestIssuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            p256: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, p256.as_ref(), &random).unwrap(),
            rsa: RsaKeyPair::from_pkcs8(RSA).unwrap(),
        }
    }

    fn jwks(&self) -> Value {
        let point = self.p256.public_key().as_ref();
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": encoded(self.ed25519.public_key().as_ref()) },
            { "kty": "EC", "crv": "P-256", "kid": "ES256", "use": "sig", "x": encoded(&point[1..33]), "y": encoded(&point[33..]) },
            { "kty": "RSA", "kid": "RS256", "alg": "RS256", "key_ops": ["verify"], "n": encoded(&rsa.n),
              "e": encoded(&rsa.e) },
        ]})
    }

    fn keys(&self) -> KeySet {
        KeySet::read(self.jwks().to_string().as_bytes()).unwrap()
    }

    /// A token with this header and these claims, signed by the key of this id.
    fn sign(&self, kid: &str, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = match kid {
            "EdDSA" => self.ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
            "ES256" => self.p256.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            "RS256" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            secret => {
                let mut hmac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
                hmac.update(signed.as_bytes());
                hmac.finalize().into_bytes().to_vec()
            }
        };
        format!("{signed}.{}", encoded(&signature))
    }

    /// What is said of a token now.
    fn judged(&self, token: &str) -> Result<Claims, Invalid> {
        let claims = Signed::read(token)?.claims(&self.keys())?;
        settings().judge(&claims, Duration::from_secs_f64(NOW))
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn settings() -> JwtSettings {
    JwtSettings::new("https://id.example".to_owned(), "https://id.example/jwks".parse().unwrap())
}

fn header(algorithm: &str) -> Value {
    json!({ "alg": algorithm, "kid": algorithm, "typ": "JWT" })
}

fn claims() -> Value {
    json!({ "iss": "https://id.example", "aud": "payonce", "nbf": NOW - 10.0, "exp": NOW + 60.0, "merchant": "acme",
            "scope": "openid payments:read payments:write" })
}

/// The claims with one of them another; null leaves it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

#[test]
fn a_token_of_each_algorithm_opens_what_its_scopes_say() {
    let issuer = TestIssuer::new();
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let token = issuer.sign(algorithm, &header(algorithm), &claims());
        assert!(looks_like_one(&token), "{token}");
        let scopes = vec![Scope::PaymentsRead, Scope::PaymentsWrite];
        assert_eq!(issuer.judged(&token), Ok(Claims { merchant: "acme".to_owned(), scopes }), "{algorithm}");
    }
    for (name, scopes, opens) in [
        ("scope", json!("payments:read"), vec![Scope::PaymentsRead]),
        ("scope", json!(["payments:write"]), vec![Scope::PaymentsWrite]),
        // No token is an operator.
        ("scope", json!("ops admin"), vec![]),
        ("scope", json!("payments:reader"), vec![]),
        ("scope", Value::Null, vec![]),
        ("scope", json!(7), vec![]),
    ] {
        let token = issuer.sign("EdDSA", &header("EdDSA"), &with(name, scopes.clone()));
        assert_eq!(issuer.judged(&token).unwrap().scopes, opens, "{scopes}");
    }
}

#[test]
fn what_a_token_says_must_hold_here_and_now() {
    let issuer = TestIssuer::new();
    for (name, value, why) in [
        ("iss", Value::Null, Some(Invalid::OtherIssuer)),
        ("iss", json!("https://id.example/"), Some(Invalid::OtherIssuer)),
        ("iss", json!(["https://id.example"]), Some(Invalid::OtherIssuer)),
        ("aud", Value::Null, Some(Invalid::OtherAudience)),
        ("aud", json!("payonce2"), Some(Invalid::OtherAudience)),
        ("aud", json!("payonce other"), Some(Invalid::OtherAudience)),
        ("aud", json!(["other"]), Some(Invalid::OtherAudience)),
        ("aud", json!(["other", "payonce"]), None),
        ("exp", Value::Null, Some(Invalid::Timeless)),
        ("exp", json!("1800000060"), Some(Invalid::Timeless)),
        ("nbf", Value::Null, Some(Invalid::Timeless)),
        ("exp", json!(NOW - 30.0), Some(Invalid::Expired)),
        ("exp", json!(NOW - 29.0), None),
        ("nbf", json!(NOW + 31.0), Some(Invalid::NotYet)),
        ("nbf", json!(NOW + 29.5), None),
        ("exp", json!(NOW + 890.0), None),
        ("exp", json!(NOW + 891.0), Some(Invalid::TooLong)),
        ("exp", json!(1e300), Some(Invalid::TooLong)),
        ("nbf", json!(-1e300), Some(Invalid::TooLong)),
        ("merchant", Value::Null, Some(Invalid::NamesNoMerchant)),
        ("merchant", json!(["acme"]), Some(Invalid::NamesNoMerchant)),
    ] {
        let token = issuer.sign("EdDSA", &header("EdDSA"), &with(name, value.clone()));
        assert_eq!(issuer.judged(&token).err(), why, "{name} {value}");
    }
}

#[test]
fn a_token_chooses_neither_its_algorithm_nor_what_its_key_is() {
    let issuer = TestIssuer::new();
    let rsa = encoded(issuer.rsa.public().as_ref());
    let signed_by = |signer: &str, alg: &str, kid: &str| {
        issuer.sign(signer, &json!({ "alg": alg, "kid": kid }), &claims())
    };
    let unsigned = signed_by("EdDSA", "none", "EdDSA");
    let unsigned = unsigned.rsplit_once('.').unwrap().0.to_owned() + ".";
    for (case, token) in [
        ("none", unsigned.clone()),
        ("none, with a signature that would do", signed_by("EdDSA", "none", "EdDSA")),
        ("the public key as the secret of an HMAC", signed_by(&rsa, "HS256", "RS256")),
        ("that under the name of the key's algorithm", signed_by(&rsa, "RS256", "RS256")),
        ("one algorithm under the key of another", signed_by("EdDSA", "EdDSA", "ES256")),
        ("another name for the right signature", signed_by("EdDSA", "ES256", "EdDSA")),
        ("a longer hash", signed_by("RS256", "RS512", "RS256")),
        ("nobody's signature", signed_by("EdDSA", "EdDSA", "EdDSA").replace(".ey", ".ez")),
    ] {
        assert!(looks_like_one(&token), "{case}");
        assert_eq!(issuer.judged(&token), Err(Invalid::NotSigned), "{case}");
    }
    let other = TestIssuer::new().sign("EdDSA", &header("EdDSA"), &claims());
    assert_eq!(issuer.judged(&other), Err(Invalid::NotSigned), "a key of the same name of another issuer");
    // Every bit of a token is signed, or is the signature.
    let token = issuer.sign("EdDSA", &header("EdDSA"), &claims());
    for at in 0..token.len() {
        let mut other = token.clone();
        other.replace_range(at..=at, if &token[at..=at] == "A" { "B" } else { "A" });
        assert!(issuer.judged(&other).is_err(), "{at}: {other}");
    }
}

#[test]
fn a_header_that_is_not_understood_is_refused() {
    let issuer = TestIssuer::new();
    let (alg, kid) = ("EdDSA", "EdDSA");
    for (header, why) in [
        (json!({ "alg": alg, "kid": kid }), None),
        (json!({ "alg": "Ed25519", "kid": kid }), None),
        (json!({ "alg": alg, "kid": kid, "typ": "application/at+jwt" }), None),
        (json!({ "alg": alg, "kid": kid, "typ": "logout+jwt" }), Some(Invalid::OtherKind)),
        (json!({ "alg": alg, "kid": kid, "crit": ["b64"] }), Some(Invalid::OtherKind)),
        (json!({ "alg": alg }), Some(Invalid::NamesNoKey)),
        (json!({ "kid": kid }), Some(Invalid::Unreadable)),
        (json!({ "alg": alg, "kid": 7 }), Some(Invalid::Unreadable)),
    ] {
        let token = issuer.sign("EdDSA", &header, &claims());
        assert_eq!(issuer.judged(&token).err(), why, "{header}");
    }
    for other in
        ["", ".", "..", "a.b.c", "payonce_sk_1", "e30.e30", "e30.e30.e30.e30", "W10.e30.e30", "e30=.e30.e30"]
    {
        assert!(!looks_like_one(other), "{other}");
    }
}

#[test]
fn keys_that_are_of_no_use_here_are_left_out() {
    let read = |keys: Value| KeySet::read(json!({ "keys": keys }).to_string().as_bytes());
    let issuer = TestIssuer::new();
    let good = issuer.jwks()["keys"].clone();
    for (at, name, value) in [
        (0, "use", json!("enc")),
        (0, "key_ops", json!(["sign"])),
        (0, "crv", json!("X25519")),
        (0, "kty", json!("oct")),
        (0, "alg", json!("HS256")),
        (0, "kid", json!(null)),
        (0, "x", json!("AA")),
        (1, "crv", json!("P-384")),
        (1, "y", json!(null)),
        (2, "alg", json!("RS512")),
        // 1,024 bits are too few.
        (2, "n", json!(encoded([255; 128]))),
    ] {
        let mut key = good[at].clone();
        key[name] = value.clone();
        assert_eq!(read(json!([key])).err(), Some(key_set::NoKeySet::Empty), "{name} {value}");
        let both = read(json!([key, if at == 1 { good[0].clone() } else { good[1].clone() }])).unwrap();
        assert!(both.has(if at == 1 { "EdDSA" } else { "ES256" }), "the others stay");
    }
    for document in ["", "[]", "{}", r#"{"keys":{}}"#] {
        assert_eq!(
            KeySet::read(document.as_bytes()).err(),
            Some(key_set::NoKeySet::Unreadable),
            "{document}"
        );
    }
}
