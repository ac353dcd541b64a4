//! No notation of an address leads inside.

use proptest::prelude::*;

use super::*;

/// Hosts that lead inside, or are none.
const INSIDE: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0x7f.0x0.0x0.0x1",
    "0",
    "0.0.0.0",
    "0x0",
    "10.0.0.1",
    "10.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.257",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "169.254.43518",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[febf::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[100::1]",
    "[5f00::1]",
    "localhost",
    "LOCALHOST",
    "a.localhost",
    "localhost.",
    "metadata.google.internal",
    "printer.local",
    "host.lan",
    "intranet",
    "1.2.3.4.5",
    "example.0x7f",
    "a..com",
    "-",
    "%6c.com",
    "127.0.0.1.",
    "[::1%25lo]",
    "example.com@127.0.0.1",
    "\u{2460}.com",
];

#[test]
fn what_is_inside_is_refused_in_every_spelling() {
    let rules = Rules { allows_http: true, ..Rules::default() };
    for host in INSIDE {
        assert!(rules.read(&format!("http://{host}/hooks")).is_err(), "{host} was taken");
    }
    for url in [
        "",
        "/hooks",
        "ftp://example.com/",
        "https://",
        "https://u:p@example.com/",
        "https://example.com/#a",
        "https://example.com:22/",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "mailto:a@example.com",
    ] {
        assert!(rules.read(url).is_err(), "{url} was taken");
    }
}

#[test]
fn what_is_public_is_taken_and_an_operator_may_allow_more() {
    let strict = Rules::default();
    for url in [
        "https://example.com/",
        "https://example.com:443/a?b=c",
        "https://93.184.216.34/",
        "https://[2606:4700::1111]/",
        "https://hooks.shop.co.uk/x",
    ] {
        assert!(strict.read(url).is_ok(), "{url}: {:?}", strict.read(url));
    }
    assert_eq!(strict.read("http://example.com/"), Err(Forbidden::Plain));
    let open = Rules {
        networks: vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        allows_http: true,
    };
    for (url, is_taken) in [
        ("http://127.0.0.1:8080/", true),
        ("http://[fd00::1]/", true),
        ("http://10.0.0.1/", false),
        ("http://[::ffff:127.0.0.1]/", true),
        ("http://[fe80::1]/", false),
    ] {
        assert_eq!(open.read(url).is_ok(), is_taken, "{url}");
    }
    for wrong in ["127.0.0.1", "127.0.0.0/33", "x/8", "::/129", ""] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
}

proptest! {
    /// Whatever carries an address of IPv4 is judged as that one.
    #[test]
    fn what_carries_an_address_of_ipv4_is_as_public_as_that_one(bits: u32, rest: u64) {
        let v4 = Ipv4Addr::from_bits(bits);
        let rules = Rules::default();
        let is_public = rules.may_dial(v4.into()).is_ok();
        let low = u128::from(bits);
        for v6 in [
            (0xffff_u128 << 32) | low,
            (0x64_ff9b_u128 << 96) | low,
            (0x2002_u128 << 112) | (low << 80) | u128::from(rest),
        ] {
            prop_assert_eq!(rules.may_dial(Ipv6Addr::from_bits(v6).into()).is_ok(), is_public, "{:x}", v6);
        }
        // The deprecated form is refused whatever it carries.
        prop_assert!(rules.may_dial(Ipv6Addr::from_bits(low).into()).is_err());
    }

    #[test]
    fn the_judgement_agrees_with_the_library_about_what_it_knows(bits: u32) {
        let v4 = Ipv4Addr::from_bits(bits);
        let is_inside = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
            || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
        prop_assert!(!(is_inside && Rules::default().may_dial(v4.into()).is_ok()));
    }
}
