//! Security policies of TLS listeners: which versions and ciphers each allows, in the order in which they are preferred (TLS-12).
//! There are no others, and none can be made.
//!
//! Ciphers are called as OpenSSL calls them.

/// A security policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SslPolicy {
    /// Name.
    pub name: &'static str,
    /// Versions, the oldest first: `TLSv1`, `TLSv1.1`, `TLSv1.2`, `TLSv1.3`.
    pub protocols: Vec<&'static str>,
    /// Ciphers, the most wanted first; the first one has priority 1.
    pub ciphers: Vec<&'static str>,
    /// Whose listeners may have it.
    pub load_balancer_types: &'static [&'static str],
}

/// The policy of listeners that name none (TLS-13).
pub const DEFAULT: &str = "ELBSecurityPolicy-2016-08";

const TLS13: &[&str] = &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Sets of ciphers, as bits.
const GCM: u8 = 1;
const CBC_SHA2: u8 = 2;
const CBC_SHA1: u8 = 4;
const RSA: u8 = 8;
const RSA_SHA1: u8 = 16;
const TRIPLE_DES: u8 = 32;
const FORWARD: u8 = GCM | CBC_SHA2 | CBC_SHA1;
const ALL: u8 = FORWARD | RSA | RSA_SHA1;

/// Ciphers of TLS 1.2 and before, in the order of every policy, with the set that each is in.
const TLS12: &[(u8, &str)] = &[
    (GCM, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (GCM, "ECDHE-RSA-AES128-GCM-SHA256"),
    (CBC_SHA2, "ECDHE-ECDSA-AES128-SHA256"),
    (CBC_SHA2, "ECDHE-RSA-AES128-SHA256"),
    (CBC_SHA1, "ECDHE-ECDSA-AES128-SHA"),
    (CBC_SHA1, "ECDHE-RSA-AES128-SHA"),
    (GCM, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (GCM, "ECDHE-RSA-AES256-GCM-SHA384"),
    (CBC_SHA2, "ECDHE-ECDSA-AES256-SHA384"),
    (CBC_SHA2, "ECDHE-RSA-AES256-SHA384"),
    (CBC_SHA1, "ECDHE-RSA-AES256-SHA"),
    (CBC_SHA1, "ECDHE-ECDSA-AES256-SHA"),
    (RSA, "AES128-GCM-SHA256"),
    (RSA, "AES128-SHA256"),
    (RSA_SHA1, "AES128-SHA"),
    (RSA, "AES256-GCM-SHA384"),
    (RSA, "AES256-SHA256"),
    (RSA_SHA1, "AES256-SHA"),
    (TRIPLE_DES, "DES-CBC3-SHA"),
];

const VERSIONS: [&str; 4] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

/// Name; oldest and newest version as indices into [`VERSIONS`]; sets of ciphers of TLS 1.2 and before.
const POLICIES: &[(&str, usize, usize, u8)] = &[
    ("ELBSecurityPolicy-2016-08", 0, 2, ALL),
    ("ELBSecurityPolicy-TLS13-1-2-2021-06", 2, 3, GCM | CBC_SHA2),
    ("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", 2, 3, GCM),
    ("ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", 2, 3, GCM | CBC_SHA2 | RSA),
    ("ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", 2, 3, ALL),
    ("ELBSecurityPolicy-TLS13-1-1-2021-06", 1, 3, ALL),
    ("ELBSecurityPolicy-TLS13-1-0-2021-06", 0, 3, ALL),
    ("ELBSecurityPolicy-TLS13-1-3-2021-06", 3, 3, 0),
    ("ELBSecurityPolicy-TLS-1-2-2017-01", 2, 2, GCM | CBC_SHA2 | RSA),
    ("ELBSecurityPolicy-TLS-1-1-2017-01", 1, 2, ALL),
    ("ELBSecurityPolicy-TLS-1-2-Ext-2018-06", 2, 2, ALL),
    ("ELBSecurityPolicy-FS-2018-06", 0, 2, FORWARD),
    ("ELBSecurityPolicy-2015-05", 0, 2, ALL),
    ("ELBSecurityPolicy-TLS-1-0-2015-04", 0, 2, ALL | TRIPLE_DES),
    ("ELBSecurityPolicy-FS-1-2-Res-2019-08", 2, 2, GCM | CBC_SHA2),
    ("ELBSecurityPolicy-FS-1-1-2019-08", 1, 2, FORWARD),
    ("ELBSecurityPolicy-FS-1-2-2019-08", 2, 2, FORWARD),
    ("ELBSecurityPolicy-FS-1-2-Res-2020-10", 2, 2, GCM),
];

/// All policies.
pub fn all() -> impl Iterator<Item = SslPolicy> {
    POLICIES.iter().map(|(name, oldest, newest, sets)| {
        let tls13 = if *newest == VERSIONS.len() - 1 { TLS13 } else { &[] };
        let tls12 = TLS12.iter().filter(|(set, _)| sets & set != 0).map(|(_, cipher)| *cipher);
        SslPolicy {
            name,
            protocols: VERSIONS[*oldest..=*newest].to_vec(),
            ciphers: tls13.iter().copied().chain(tls12).collect(),
            load_balancer_types: &["application", "network"],
        }
    })
}

/// A policy by its name.
pub fn find(name: &str) -> Option<SslPolicy> {
    all().find(|policy| policy.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: TLS-12, TLS-13
    #[test]
    fn the_policies_are_those_of_the_guide() {
        let names: Vec<&str> = all().map(|policy| policy.name).collect();
        assert_eq!(names.len(), 18);
        assert!(names.iter().all(|name| name.starts_with("ELBSecurityPolicy-")));
        let versions = |name: &str| find(name).expect(name).protocols;
        assert_eq!(versions(DEFAULT), ["TLSv1", "TLSv1.1", "TLSv1.2"]);
        assert_eq!(versions("ELBSecurityPolicy-TLS13-1-3-2021-06"), ["TLSv1.3"]);
        assert_eq!(versions("ELBSecurityPolicy-TLS13-1-1-2021-06"), ["TLSv1.1", "TLSv1.2", "TLSv1.3"]);
        assert_eq!(versions("ELBSecurityPolicy-FS-1-2-Res-2020-10"), ["TLSv1.2"]);
        assert!(find("ELBSecurityPolicy-2016-8").is_none() && find("").is_none());
    }

    /// req: TLS-12, TLS-14
    #[test]
    fn ciphers_are_in_the_order_of_preference() {
        let ciphers = |name: &str| find(&format!("ELBSecurityPolicy-{name}")).expect(name).ciphers;
        assert_eq!(ciphers("TLS13-1-3-2021-06"), TLS13);
        let gcm = [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ];
        assert_eq!(ciphers("FS-1-2-Res-2020-10"), gcm);
        assert_eq!(ciphers("TLS13-1-2-Res-2021-06"), [TLS13, &gcm].concat());
        assert_eq!(ciphers("2016-08"), ciphers("2015-05"));
        assert_eq!(ciphers("2016-08").len(), 18);
        assert_eq!(ciphers("TLS-1-0-2015-04"), [ciphers("2016-08"), vec!["DES-CBC3-SHA"]].concat());
        assert_eq!([ciphers("FS-2018-06").len(), ciphers("FS-1-2-Res-2019-08").len()], [12, 8]);
        assert_eq!([ciphers("TLS13-1-2-Ext1-2021-06").len(), ciphers("TLS13-1-2-Ext2-2021-06").len()], [15, 21]);
        // A policy without forward secrecy only adds ciphers of static RSA.
        let ephemeral = |cipher: &&str| cipher.starts_with("ECDHE-") || cipher.starts_with("TLS_");
        assert!(ciphers("FS-2018-06").iter().all(ephemeral));
        assert_eq!(ciphers("TLS-1-2-2017-01").iter().filter(|cipher| !ephemeral(cipher)).count(), 4);
    }
}
