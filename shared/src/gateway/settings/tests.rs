//! What a file of gateways may say, and what is said of one that cannot be used.

use super::*;

fn read(text: &str) -> Result<Vec<GatewaySettings>, String> {
    let usual = GatewaySettings::new(String::new());
    from_file(text, &usual).map_err(|why| why.to_string())
}

#[test]
fn each_gateway_has_its_own_terms_and_the_usual_ones_for_the_rest() {
    let settings = read(
        r#"
        [default]
        url = "http://127.0.0.1:8090"

        [acme_eu]
        url = "https://eu.acme.example"
        api_key = "secret"
        timeout_ms = 1500
        retries = 6
        verify_waits_ms = [100, 200]
        void_supported = false
        rate_per_s = 0.5
        concurrency = 8
        "#,
    )
    .unwrap();

    let names: Vec<&str> = settings.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["acme_eu", "default"]);
    let [acme, default] = &settings[..] else { unreachable!("two are named") };
    assert_eq!((default.policy.clone(), default.concurrency), (Policy::default(), 256));
    assert_eq!((acme.concurrency, acme.rate), (8, "0.5".parse().ok()));
    assert!(acme.key.is_some() && default.key.is_none());
    let usual = Policy::default();
    let expected = Policy {
        gateway_timeout: Duration::from_millis(1_500),
        max_retries: 6,
        verify_waits: vec![Duration::from_millis(100), Duration::from_millis(200)],
        profile: Profile { voids: false, ..usual.profile },
        ..usual
    };
    assert_eq!(acme.policy, expected);
}

#[test]
fn a_file_that_cannot_be_used_says_which_gateway_and_which_key() {
    for (text, says) in [
        ("", "GATEWAYS: names no gateway"),
        ("[default]", "missing field `url`"),
        ("[Default]\nurl = \"http://a\"", "is no name of a gateway"),
        ("[default]\nurl = \"http://a\"\nurls = 1", "unknown field `urls`"),
        ("[default]\nurl = \"http://a\"\nadapter = \"stripe\"", "unknown variant `stripe`"),
        ("[b]\nurl = \"http://a\"\nbackoff_ms = 0", "GATEWAYS: [b] backoff_ms: must be more than zero"),
        ("[b]\nurl = \"http://a\"\nbackoff_max_ms = 5", "GATEWAYS: [b] backoff_max_ms: must not be less"),
        ("[b]\nurl = \"http://a\"\nrate_per_s = -1", "GATEWAYS: [b] rate_per_s: give a decimal number"),
        ("[b]\nurl = \"http://a\"\nconcurrency = 0", "GATEWAYS: [b] concurrency: must be from 1"),
        ("[b]\nurl = \"http://a\"\napi_key = \"a\\nb\"", "GATEWAYS: [b] api_key: "),
        ("[b]\nurl = \"http://a\"\napi_key = \"secret", "GATEWAYS: about line 3: "),
        ("[b]\nurl = \"http://a\"\napi_key = secret", "GATEWAYS: about line 3: "),
        ("[b]\nurl = \"http://a\"\napi_key_file = \"/nowhere\"", "GATEWAYS: [b] api_key_file: cannot read"),
        ("[b]\nurl = \"http://a\"\npayment_max_age_ms = 99999999999", "is more than a year"),
    ] {
        let why = read(text).unwrap_err();
        assert!(why.contains(says), "{text:?}: {why}");
        assert!(!why.contains("secret"), "{why}");
    }
}

#[test]
fn an_error_of_the_file_and_one_of_the_variables_are_about_the_same_rules() {
    for (field, name) in [
        ("timeout_ms", "GATEWAY_TIMEOUT_MS"),
        ("backoff_ms", "BACKOFF_MS"),
        ("concurrency", "WORKER_CONCURRENCY"),
        ("breaker_open_ms", "BREAKER_OPEN_MS"),
    ] {
        assert_eq!(variable(field), name);
    }
}
