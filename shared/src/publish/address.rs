//! Where deliveries may go: to addresses of the public Internet, and to those that the operator allows.
//!
//! Invariant: what is dialled is an address that was judged here, never a name that is looked up again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hyper::Uri;

use crate::platform::config::{self, InvalidSetting};

/// Networks of IPv4 that are not the public Internet, by the registry of special-purpose addresses.
const SPECIAL_V4: &[(u32, u32)] = &[
    (0x0000_0000, 8),  // this network
    (0x0a00_0000, 8),  // private
    (0x6440_0000, 10), // shared by carriers
    (0x7f00_0000, 8),  // loopback
    (0xa9fe_0000, 16), // link-local, where clouds tell secrets
    (0xac10_0000, 12), // private
    (0xc000_0000, 24), // protocol assignments
    (0xc000_0200, 24), // documentation
    (0xc058_6300, 24), // 6to4 relays
    (0xc0a8_0000, 16), // private
    (0xc612_0000, 15), // benchmarks
    (0xc633_6400, 24), // documentation
    (0xcb00_7100, 24), // documentation
    (0xe000_0000, 4),  // multicast
    (0xf000_0000, 4),  // reserved, and broadcast
];

/// The operator's exceptions, and whether plain HTTP is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Networks beside the public Internet.
    pub networks: Vec<Network>,
    /// Whether `http://` will do.
    pub allows_http: bool,
}

/// A network: its address, and how many bits of it count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// A URL that deliveries may be sent to, if what its name stands for may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL.
    pub uri: Uri,
    /// The name or address in it, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it is spoken to by TLS.
    pub is_tls: bool,
}

/// Why nothing is sent to a URL or an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is no URL, or has parts that none of these has.
    #[error(
        "give an absolute URL with a host, such as https://example.com/hooks, without user, password or fragment"
    )]
    Url,
    /// It is plain HTTP.
    #[error("give an https URL")]
    Plain,
    /// It names another port.
    #[error("use port 443")]
    Port,
    /// The name is one of this machine or of a local network.
    #[error("{0} is the name of no public host")]
    Name(String),
    /// The address is not of the public Internet.
    #[error("{0} is not a public address")]
    Address(IpAddr),
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no network: write it as 10.0.0.0/8 or fd00::/8");
        let (address, bits) = text.trim().split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
        Ok(Self { address, bits })
    }
}

impl Network {
    fn has(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(of), IpAddr::V4(it)) => is_in(it.to_bits(), of.to_bits(), self.bits),
            (IpAddr::V6(of), IpAddr::V6(it)) => {
                let kept = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                it.to_bits() & kept == of.to_bits() & kept
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

const fn is_in(it: u32, of: u32, bits: u32) -> bool {
    let kept = match u32::MAX.checked_shl(32 - bits) {
        Some(kept) => kept,
        None => 0,
    };
    it & kept == of & kept
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|&(of, bits)| is_in(address.to_bits(), of, bits))
}

/// Of IPv6 only global unicast is public, less what is set apart in it. What carries an address of IPv4 is
/// as public as that one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let has = |prefix: u128, length: u32| bits >> (128 - length) == prefix >> (128 - length);
    let tail = |shift: u32| Ipv4Addr::from_bits(((bits >> shift) & 0xffff_ffff) as u32);
    if has(0x64_ff9b << 96, 96) {
        return is_public_v4(tail(0));
    }
    if has(0x2002 << 112, 16) {
        return is_public_v4(tail(80));
    }
    // 2001::/23 has Teredo and other assignments, 2001:db8::/32 and 3fff::/20 are for documentation.
    has(0x2000 << 112, 3) && !has(0x2001 << 112, 23) && !has(0x2001_0db8 << 96, 32) && !has(0x3fff << 112, 20)
}

impl Rules {
    /// Endpoints on this machine, by plain HTTP: for who tries things out.
    ///
    /// # Errors
    /// None: the networks can be read.
    pub fn on_this_machine() -> Result<Self, InvalidSetting> {
        let networks = ["127.0.0.0/8", "::1/128"].map(str::parse).into_iter().collect::<Result<_, String>>();
        let invalid = |why| InvalidSetting::new("WEBHOOK_ALLOW_NETS", why);
        Ok(Self { networks: networks.map_err(invalid)?, allows_http: true })
    }

    /// Reads whether plain HTTP will do from one variable, and networks with commas between from the other.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn from_env(http: &str, nets: &str) -> Result<Self, InvalidSetting> {
        let networks = config::optional(nets).unwrap_or_default();
        let networks = networks.split(',').filter(|text| !text.trim().is_empty()).map(str::parse);
        let networks: Result<Vec<Network>, String> = networks.collect();
        Ok(Self {
            networks: networks.map_err(|why| InvalidSetting::new(nets, why))?,
            allows_http: config::parsed(http, false)?,
        })
    }

    /// Refuses an address that is neither public nor allowed.
    ///
    /// # Errors
    /// The address.
    pub fn may_dial(&self, address: IpAddr) -> Result<(), Forbidden> {
        // An address of IPv4 in the clothes of IPv6 is that address.
        let address = address.to_canonical();
        let is_public = match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        };
        let is_allowed = is_public || self.networks.iter().any(|network| network.has(address));
        if is_allowed { Ok(()) } else { Err(Forbidden::Address(address)) }
    }

    /// Reads a URL. An address in it is judged at once, in whatever notation it is written; a name once it is
    /// looked up.
    ///
    /// # Errors
    /// Why nothing may be sent there.
    pub fn read(&self, url: &str) -> Result<Target, Forbidden> {
        let is_clean =
            url.len() <= 2_000 && url.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
        let uri: Uri = url.parse().ok().filter(|_| is_clean).ok_or(Forbidden::Url)?;
        let authority = uri.authority().filter(|it| !it.as_str().contains('@')).ok_or(Forbidden::Url)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if self.allows_http => false,
            Some("http") => return Err(Forbidden::Plain),
            _ => return Err(Forbidden::Url),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let is_allowed = port == 443 || self.allows_http && (port == 80 || !self.networks.is_empty());
        if let Ok(address) = host.parse::<IpAddr>() {
            self.may_dial(address)?;
        } else if !is_a_public_name(&host) {
            return Err(Forbidden::Name(host));
        }
        if is_allowed { Ok(Target { uri, host, port, is_tls }) } else { Err(Forbidden::Port) }
    }
}

/// Whether it may be the name of a public host: it has a dot, is none of the names of local networks, and
/// does not end in a number, as old notations of addresses do (`127.1`, `0x7f.0.0.1`, `2130706433`).
fn is_a_public_name(host: &str) -> bool {
    const LOCAL: &[&str] = &[
        "localhost",
        "local",
        "internal",
        "localdomain",
        "lan",
        "home",
        "corp",
        "arpa",
        "onion",
        "test",
        "invalid",
    ];
    let host = host.strip_suffix('.').unwrap_or(host);
    let labels: Vec<&str> = host.split('.').collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let Some(last) = labels.last() else { return false };
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    labels.len() > 1
        && host.len() <= 253
        && labels.iter().all(is_label)
        && !is_number
        && !LOCAL.contains(last)
}

#[cfg(test)]
mod tests;
