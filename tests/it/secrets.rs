//! No secret stands where it must not: in the tree, and in what the programs say, show and keep.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tests::guardian;

use crate::tidy::root;

mod canary;

/// What the scan says of this directory, and whether it found nothing.
fn scanned(directory: Option<&PathBuf>) -> (bool, String) {
    let mut scan = Command::new(root().join("scripts/check-secrets"));
    let done = scan.args(directory).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn no_secret_stands_in_the_tree_and_the_scan_finds_each_that_is_put_into_one() {
    assert_eq!(scanned(None), (true, String::new()));

    // Put together here, as this file is a part of the tree, too.
    let hex = "0123456789abcdef".repeat(8);
    let secrets = [
        ("a private key", format!("-----BEGIN {} KEY-----", "RSA PRIVATE")),
        ("a key of Payonce", format!("payonce_sk_{}_{}", &hex[..32], &hex[..72])),
        ("a key of Payonce", format!("payonce_sk_{}", &hex[..64])),
        ("a token", format!("eyJ{}.eyJ{}.{}", &hex[..20], &hex[..20], &hex[..40])),
        ("a key of a service", format!("AKIA{}", "ABCDEFGH01234567")),
        ("a key of a service", format!("ghp_{}", &hex[..36])),
        ("a key of a service", format!("sk_live_{}", &hex[..24])),
        ("a secret that is set", format!("API_KEY_PEPPER={}", &hex[..64])),
        ("a secret that is set", format!("\"ADMIN_KEY\": \"{}\"", &hex[..32])),
        ("a password in a URL", format!("postgres://payonce:{}@db/payonce", "correct-horse-battery")),
    ];
    for (kind, secret) in secrets {
        let directory = guardian::scratch().join(format!("tree-{:016x}", rand::random::<u64>()));
        fs::create_dir_all(directory.join("docs")).unwrap();
        fs::write(directory.join("docs/page.md"), format!("A page.\nSay {secret} there.\n")).unwrap();
        fs::write(directory.join("other.md"), "DATABASE_URL=postgres://user:password@localhost/payonce\n")
            .unwrap();

        let (is_clean, said) = scanned(Some(&directory));

        assert!(!is_clean, "{kind}");
        assert!(said.starts_with(&format!("docs/page.md:2: {kind}\n")), "{kind}: {said}");
        assert!(!said.contains(&secret) && !said.contains("other.md"), "{said}");
    }
}
