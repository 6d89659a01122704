//! Each provider of the library from its settings in `[dns]`. The settings have the names of the library's arguments.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use dns_update::{
    DnsUpdater, Error, TsigAlgorithm,
    providers::{
        azuredns::{AzureDnsConfig, AzureEnvironment},
        bluecatv2::BluecatV2Config,
        edgedns::EdgeDnsConfig,
        google_cloud_dns::GoogleCloudDnsConfig,
        infoblox::InfobloxConfig,
        joker::JokerAuth,
        lightsail::LightsailConfig,
        oraclecloud::OracleCloudConfig,
        route53::Route53Config,
        volcengine::VolcengineConfig,
        yandexcloud::YandexCloudConfig,
    },
};

/// For one call over HTTP.
const T: Option<Duration> = Some(super::writer::PATIENCE);

/// What `[dns]` says for a provider, its secrets read.
pub(super) struct Fields<'a>(pub(super) &'a BTreeMap<String, String>);

impl Fields<'_> {
    /// One that is required: whether it is there was seen before.
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    fn text(&self, name: &str) -> String {
        self.get(name).to_owned()
    }

    pub(super) fn maybe(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|value| !value.is_empty())
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name) == "true"
    }
}

type Make = fn(&Fields<'_>) -> Result<DnsUpdater, Error>;

/// The provider of this name; `None`: the library has none.
pub(super) fn make(name: &str) -> Option<Make> {
    MAKERS.iter().find(|(known, _)| *known == name).map(|(_, make)| *make)
}

/// In the order of names.
const MAKERS: &[(&str, Make)] = &[
    ("alidns", |f| {
        let (region, token, line) = (f.maybe("region"), f.maybe("security_token"), f.maybe("line"));
        DnsUpdater::new_alidns(f.get("access_key"), f.get("secret_key"), region, token, line, T)
    }),
    ("arvancloud", |f| DnsUpdater::new_arvancloud(f.get("api_key"), T)),
    ("autodns", |f| {
        let context = f.maybe("context").map(|number| number.parse()).transpose();
        let context = context.map_err(|_| Error::Parse("context must be a number".to_owned()))?;
        DnsUpdater::new_autodns(f.get("username"), f.get("password"), context, T)
    }),
    ("azuredns", |f| {
        DnsUpdater::new_azuredns(AzureDnsConfig {
            tenant_id: f.text("tenant_id"),
            client_id: f.text("client_id"),
            client_secret: f.text("client_secret"),
            subscription_id: f.text("subscription_id"),
            resource_group: f.text("resource_group"),
            environment: AzureEnvironment::from_str_lossy(f.get("environment")),
            request_timeout: T,
        })
    }),
    ("baiducloud", |f| DnsUpdater::new_baiducloud(f.get("access_key"), f.get("secret_key"), T)),
    ("bluecatv2", |f| {
        DnsUpdater::new_bluecatv2(BluecatV2Config {
            server_url: f.text("server_url"),
            username: f.text("username"),
            password: f.text("password"),
            config_name: f.text("config_name"),
            view_name: f.text("view_name"),
            skip_deploy: f.flag("skip_deploy"),
            request_timeout: T,
        })
    }),
    ("bunny", |f| DnsUpdater::new_bunny(f.get("api_key"), T)),
    ("cloudflare", |f| DnsUpdater::new_cloudflare(f.get("token"), T)),
    ("cloudns", |f| DnsUpdater::new_cloudns(f.maybe("auth_id"), f.maybe("sub_auth_id"), f.get("auth_password"), T)),
    ("constellix", |f| DnsUpdater::new_constellix(f.get("api_key"), f.get("secret_key"), T)),
    ("cpanel", |f| DnsUpdater::new_cpanel(f.get("base_url"), f.get("username"), f.get("token"), T)),
    ("desec", |f| DnsUpdater::new_desec(f.get("auth_token"), T)),
    ("digitalocean", |f| DnsUpdater::new_digitalocean(f.get("auth_token"), T)),
    ("dnsimple", |f| DnsUpdater::new_dnsimple(f.get("auth_token"), f.get("account_id"), T)),
    ("dnsmadeeasy", |f| DnsUpdater::new_dnsmadeeasy(f.get("api_key"), f.get("api_secret"), T)),
    ("domeneshop", |f| DnsUpdater::new_domeneshop(f.get("api_token"), f.get("api_secret"), T)),
    ("dreamhost", |f| DnsUpdater::new_dreamhost(f.get("api_key"), T)),
    ("dynu", |f| DnsUpdater::new_dynu(f.get("api_key"), T)),
    ("easydns", |f| DnsUpdater::new_easydns(f.get("token"), f.get("key"), T)),
    ("edgedns", |f| {
        DnsUpdater::new_edgedns(EdgeDnsConfig {
            host: f.text("host"),
            client_token: f.text("client_token"),
            client_secret: f.text("client_secret"),
            access_token: f.text("access_token"),
            account_switch_key: f.maybe("account_switch_key"),
            request_timeout: T,
        })
    }),
    ("exoscale", |f| DnsUpdater::new_exoscale(f.get("api_key"), f.get("api_secret"), T)),
    ("gandiv5", |f| DnsUpdater::new_gandiv5(f.get("personal_access_token"), T)),
    ("gcore", |f| DnsUpdater::new_gcore(f.get("api_token"), T)),
    ("glesys", |f| DnsUpdater::new_glesys(f.get("api_user"), f.get("api_key"), T)),
    ("godaddy", |f| DnsUpdater::new_godaddy(f.get("api_key"), f.get("api_secret"), T)),
    ("google_cloud_dns", |f| {
        DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
            service_account_json: f.text("service_account_json"),
            project_id: f.text("project_id"),
            managed_zone: f.maybe("managed_zone"),
            private_zone: f.flag("private_zone"),
            impersonate_service_account: f.maybe("impersonate_service_account"),
            request_timeout: T,
        })
    }),
    ("hetzner", |f| DnsUpdater::new_hetzner(f.get("api_token"), T)),
    ("hostingde", |f| DnsUpdater::new_hostingde(f.get("api_key"), T)),
    ("hostinger", |f| DnsUpdater::new_hostinger(f.get("api_token"), T)),
    ("huaweicloud", |f| DnsUpdater::new_huaweicloud(f.get("access_key"), f.get("secret_key"), f.get("region"), T)),
    ("ibmcloud", |f| DnsUpdater::new_ibmcloud(f.get("username"), f.get("api_key"), T)),
    ("infoblox", |f| {
        DnsUpdater::new_infoblox(InfobloxConfig {
            host: f.text("host"),
            port: f.maybe("port"),
            username: f.text("username"),
            password: f.text("password"),
            wapi_version: f.maybe("wapi_version"),
            dns_view: f.maybe("dns_view"),
            request_timeout: T,
        })
    }),
    ("infomaniak", |f| DnsUpdater::new_infomaniak(f.get("access_token"), T)),
    ("inwx", |f| DnsUpdater::new_inwx(f.get("username"), f.get("password"), f.flag("sandbox"), T)),
    ("ionos", |f| DnsUpdater::new_ionos(f.get("api_key"), T)),
    ("ipv64", |f| DnsUpdater::new_ipv64(f.get("api_key"), T)),
    ("joker", |f| {
        let auth = match f.maybe("api_key") {
            Some(key) => JokerAuth::ApiKey(key),
            None => JokerAuth::UsernamePassword { username: f.text("username"), password: f.text("password") },
        };
        DnsUpdater::new_joker(auth, T)
    }),
    ("lightsail", |f| {
        DnsUpdater::new_lightsail(LightsailConfig {
            access_key_id: f.text("access_key_id"),
            secret_access_key: f.text("secret_access_key"),
            session_token: f.maybe("session_token"),
            region: f.maybe("region"),
            domain: f.maybe("domain"),
            request_timeout: T,
        })
    }),
    ("linode", |f| DnsUpdater::new_linode(f.get("auth_token"), T)),
    ("luadns", |f| DnsUpdater::new_luadns(f.get("api_username"), f.get("api_token"), T)),
    ("mythicbeasts", |f| DnsUpdater::new_mythicbeasts(f.get("username"), f.get("password"), T)),
    ("namecheap", |f| {
        let user = f.maybe("username");
        DnsUpdater::new_namecheap(f.get("api_user"), f.get("api_key"), f.get("client_ip"), user, T)
    }),
    ("namedotcom", |f| DnsUpdater::new_namedotcom(f.get("username"), f.get("api_token"), T)),
    ("namesilo", |f| DnsUpdater::new_namesilo(f.get("api_key"), T)),
    ("netcup", |f| DnsUpdater::new_netcup(f.get("customer_number"), f.get("api_key"), f.get("api_password"), T)),
    ("netlify", |f| DnsUpdater::new_netlify(f.get("access_token"), T)),
    ("nifcloud", |f| DnsUpdater::new_nifcloud(f.get("access_key"), f.get("secret_key"), T)),
    ("ns1", |f| DnsUpdater::new_ns1(f.get("api_key"), T)),
    ("oraclecloud", |f| {
        DnsUpdater::new_oraclecloud(OracleCloudConfig {
            tenancy_ocid: f.text("tenancy_ocid"),
            user_ocid: f.text("user_ocid"),
            fingerprint: f.text("fingerprint"),
            private_key_pem: f.text("private_key_pem"),
            private_key_password: f.maybe("private_key_password"),
            region: f.text("region"),
            compartment_ocid: f.text("compartment_ocid"),
            request_timeout: T,
        })
    }),
    ("ovh", |f| {
        let endpoint = f.get("endpoint").parse()?;
        DnsUpdater::new_ovh(f.get("application_key"), f.get("application_secret"), f.get("consumer_key"), endpoint, T)
    }),
    ("pdns", |f| DnsUpdater::new_pdns(f.get("api_key"), f.maybe("endpoint"), f.maybe("server_name"), T)),
    ("plesk", |f| DnsUpdater::new_plesk(f.get("base_url"), f.get("api_key"), T)),
    ("porkbun", |f| DnsUpdater::new_porkbun(f.get("api_key"), f.get("secret_api_key"), T)),
    ("rfc2136", rfc2136),
    ("route53", |f| {
        DnsUpdater::new_route53(Route53Config {
            access_key_id: f.text("access_key_id"),
            secret_access_key: f.text("secret_access_key"),
            session_token: f.maybe("session_token"),
            region: f.maybe("region"),
            hosted_zone_id: f.maybe("hosted_zone_id"),
            private_zone_only: Some(f.flag("private_zone_only")),
            endpoint: f.maybe("endpoint"),
        })
    }),
    ("safedns", |f| DnsUpdater::new_safedns(f.get("auth_token"), T)),
    ("scaleway", |f| DnsUpdater::new_scaleway(f.get("api_token"), T)),
    ("selectel", |f| {
        let (account, project) = (f.get("account_id"), f.get("project_id"));
        DnsUpdater::new_selectel(f.get("username"), f.get("password"), account, project, T)
    }),
    ("simplycom", |f| DnsUpdater::new_simplycom(f.get("account_name"), f.get("api_key"), T)),
    ("spaceship", |f| DnsUpdater::new_spaceship(f.get("api_key"), f.get("api_secret"), T)),
    ("tencentcloud", |f| {
        let (region, token) = (f.maybe("region"), f.maybe("session_token"));
        DnsUpdater::new_tencentcloud(f.get("secret_id"), f.get("secret_key"), region, token, T)
    }),
    ("transip", |f| DnsUpdater::new_transip(f.get("login"), f.get("private_key_pem"), f.flag("global_key"), T)),
    ("ultradns", |f| DnsUpdater::new_ultradns(f.get("username"), f.get("password"), f.maybe("endpoint"), T)),
    ("vercel", |f| DnsUpdater::new_vercel(f.get("auth_token"), f.maybe("team_id"), T)),
    ("volcengine", |f| {
        DnsUpdater::new_volcengine(VolcengineConfig {
            access_key: f.text("access_key"),
            secret_key: f.text("secret_key"),
            region: f.maybe("region"),
            host: f.maybe("host"),
            scheme: f.maybe("scheme"),
            request_timeout: T,
        })
    }),
    ("vultr", |f| DnsUpdater::new_vultr(f.get("api_key"), T)),
    ("websupport", |f| DnsUpdater::new_websupport(f.get("api_key"), f.get("secret"), T)),
    ("yandexcloud", |f| {
        DnsUpdater::new_yandexcloud(YandexCloudConfig {
            iam_token_b64: f.text("iam_token_b64"),
            folder_id: f.text("folder_id"),
            request_timeout: T,
        })
    }),
    ("zoneeu", |f| DnsUpdater::new_zoneeu(f.get("username"), f.get("api_key"), T)),
];

/// Over TCP: an UPDATE that a network loses would be found out only by its timeout.
fn rfc2136(fields: &Fields<'_>) -> Result<DnsUpdater, Error> {
    let server = fields.get("server");
    let server: SocketAddr = server
        .parse()
        .or_else(|_| server.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53)))
        .map_err(|_| Error::Parse("server must be ADDRESS:PORT".to_owned()))?;
    let key = BASE64_STANDARD.decode(fields.get("key")).ok().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| {
        Error::Parse("key_file must have the key's secret alone, in base64, as tsig-keygen shows it".to_owned())
    })?;
    let algorithm = match fields.get("key_algorithm") {
        "" | "hmac-sha256" => TsigAlgorithm::HmacSha256,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        other => return Err(Error::Parse(format!("key_algorithm: {other:?} is none"))),
    };
    DnsUpdater::new_rfc2136_tsig(format!("tcp://{server}"), fields.get("key_name"), key, algorithm)
}

/// Seconds that a challenge's record lives in caches: short, but not shorter than the provider allows.
pub(super) fn ttl(provider: &str) -> u32 {
    match provider {
        "namesilo" => 3600,
        "alidns" | "autodns" | "godaddy" | "porkbun" | "tencentcloud" | "volcengine" | "websupport" => 600,
        "baiducloud" | "domeneshop" | "dynu" | "gandiv5" | "huaweicloud" | "inwx" | "ionos" | "linode" | "luadns"
        | "namedotcom" | "netlify" => 300,
        _ => 120,
    }
}
