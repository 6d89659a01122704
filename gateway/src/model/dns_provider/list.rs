//! Who they are. The names are those that the library beneath has for its arguments, so that its documents are ours.
//!
//! A zone's certificate needs two values at one name, the wildcard's and the apex': who keeps a single TXT value a name
//! (DDNSS.de, DuckDNS, FreeMyIP, Hurricane Electric's dynamic TXT) is not among them.

use super::{
    DnsProvider, DnsValue,
    field::{DnsField, optional, optional_secret, required, secret},
};

const ALGORITHMS: &[&str] = &["hmac-sha256", "hmac-sha384", "hmac-sha512"];
const AZURES: &[&str] = &["public", "china", "usgovernment"];
const OVHS: &[&str] = &["ovh-eu", "ovh-us", "ovh-ca", "kimsufi-eu", "kimsufi-ca", "soyoustart-eu", "soyoustart-ca"];

const API_KEY: DnsField = secret("api_key", "an API key");
const API_SECRET: DnsField = secret("api_secret", "its secret");
const API_TOKEN: DnsField = secret("api_token", "an API token");
const AUTH_TOKEN: DnsField = secret("auth_token", "an API token");
const ACCESS_TOKEN: DnsField = secret("access_token", "an access token");
const ACCESS_KEY: DnsField = required("access_key", "an access key's identifier");
const SECRET_KEY: DnsField = secret("secret_key", "its secret");
const USERNAME: DnsField = required("username", "of an account that may change the zone");
const PASSWORD: DnsField = secret("password", "its password");

const fn provider(name: &'static str, title: &'static str, fields: &'static [DnsField]) -> DnsProvider {
    DnsProvider::new(name, title, fields)
}

/// Every provider, in the order of names.
pub const DNS_PROVIDERS: &[DnsProvider] = &[
    provider(
        "alidns",
        "Alibaba Cloud DNS",
        &[
            ACCESS_KEY,
            SECRET_KEY,
            optional("region", "of the endpoint"),
            optional_secret("security_token", "of a temporary access key"),
            optional("line", "the resolution line [default]"),
        ],
    ),
    provider("arvancloud", "ArvanCloud", &[API_KEY]),
    provider(
        "autodns",
        "AutoDNS (InterNetX)",
        &[USERNAME, PASSWORD, optional("context", "a number of the account's [4]").takes(DnsValue::Number)],
    ),
    provider(
        "azuredns",
        "Azure DNS",
        &[
            required("tenant_id", "the directory of the service principal"),
            required("client_id", "the service principal"),
            secret("client_secret", "its secret"),
            required("subscription_id", "the subscription that the zone is in"),
            required("resource_group", "the resource group that the zone is in"),
            optional("environment", "public, china or usgovernment [public]").takes(DnsValue::OneOf(AZURES)),
        ],
    ),
    provider("baiducloud", "Baidu Cloud DNS", &[ACCESS_KEY, SECRET_KEY]),
    provider(
        "bluecatv2",
        "BlueCat Address Manager v2",
        &[
            required("server_url", "https://… of the address manager").takes(DnsValue::Url),
            USERNAME,
            PASSWORD,
            required("config_name", "the configuration that the zone is in"),
            required("view_name", "the view that the zone is in"),
            optional("skip_deploy", "whether changes wait for a deployment of yours [false]").takes(DnsValue::Flag),
        ],
    ),
    provider("bunny", "Bunny DNS", &[API_KEY]),
    provider("cloudflare", "Cloudflare", &[secret("token", "an API token with Zone:Read and DNS:Edit")]),
    provider(
        "cloudns",
        "ClouDNS",
        &[
            optional("auth_id", "of an API user"),
            optional("sub_auth_id", "of an API sub-user, instead"),
            secret("auth_password", "its password"),
        ],
    )
    .either(&[&["auth_id"], &["sub_auth_id"]]),
    provider("constellix", "Constellix", &[API_KEY, SECRET_KEY]),
    provider(
        "cpanel",
        "cPanel",
        &[
            required("base_url", "https://HOST:2083").takes(DnsValue::Url),
            USERNAME,
            secret("token", "an API token of that account"),
        ],
    ),
    provider("desec", "deSEC", &[AUTH_TOKEN]),
    provider("digitalocean", "DigitalOcean", &[AUTH_TOKEN]),
    provider("dnsimple", "DNSimple", &[AUTH_TOKEN, required("account_id", "the account's number")]),
    provider("dnsmadeeasy", "DNS Made Easy", &[API_KEY, API_SECRET]),
    provider("domeneshop", "Domeneshop", &[API_TOKEN, API_SECRET]),
    provider("dreamhost", "DreamHost", &[API_KEY]),
    provider("dynu", "Dynu", &[API_KEY]),
    provider("easydns", "easyDNS", &[secret("token", "an API token"), secret("key", "its key")]),
    provider(
        "edgedns",
        "Akamai Edge DNS",
        &[
            required("host", "of the API client, akab-….luna.akamaiapis.net"),
            secret("client_token", "of the API client"),
            secret("client_secret", "of the API client"),
            ACCESS_TOKEN,
            optional("account_switch_key", "the account, where the client has several"),
        ],
    ),
    provider(
        "exec",
        "a program of yours: PROGRAM present|cleanup FQDN VALUE",
        &[
            required("program", "its absolute path").takes(DnsValue::Program),
            optional("timeout", "for one run [60s]").takes(DnsValue::Duration),
        ],
    ),
    provider("exoscale", "Exoscale", &[API_KEY, API_SECRET]),
    provider("gandiv5", "Gandi LiveDNS", &[secret("personal_access_token", "a personal access token")]),
    provider("gcore", "Gcore", &[API_TOKEN]),
    provider("glesys", "GleSYS", &[required("api_user", "the project, CL12345"), API_KEY]),
    provider("godaddy", "GoDaddy", &[API_KEY, API_SECRET]),
    provider(
        "google_cloud_dns",
        "Google Cloud DNS",
        &[
            secret("service_account_json", "a service account's key, as Google gives it"),
            required("project_id", "the project that the zone is in"),
            optional("managed_zone", "its name, where several fit"),
            optional("private_zone", "whether only private zones are meant [false]").takes(DnsValue::Flag),
            optional("impersonate_service_account", "whom to act as, by e-mail address"),
        ],
    ),
    provider("hetzner", "Hetzner", &[API_TOKEN]),
    provider("hostingde", "hosting.de", &[API_KEY]),
    provider("hostinger", "Hostinger", &[API_TOKEN]),
    provider(
        "huaweicloud",
        "Huawei Cloud DNS",
        &[ACCESS_KEY, SECRET_KEY, required("region", "the region of the endpoint")],
    ),
    provider("ibmcloud", "IBM Cloud, classic infrastructure", &[USERNAME, API_KEY]),
    provider(
        "infoblox",
        "Infoblox NIOS",
        &[
            required("host", "of the grid master"),
            optional("port", "of its WAPI [443]"),
            USERNAME,
            PASSWORD,
            optional("wapi_version", "of its WAPI [2.11]"),
            optional("dns_view", "the view that the zone is in"),
        ],
    ),
    provider("infomaniak", "Infomaniak", &[ACCESS_TOKEN]),
    provider(
        "inwx",
        "INWX",
        &[USERNAME, PASSWORD, optional("sandbox", "whether its test system is meant [false]").takes(DnsValue::Flag)],
    ),
    provider("ionos", "IONOS", &[secret("api_key", "PREFIX.SECRET of an API key")]),
    provider("ipv64", "IPv64", &[API_KEY]),
    provider(
        "joker",
        "Joker.com",
        &[
            optional_secret("api_key", "an API key"),
            optional("username", "instead of an API key"),
            optional_secret("password", "of that user"),
        ],
    )
    .either(&[&["api_key"], &["username", "password"]]),
    provider(
        "lightsail",
        "Amazon Lightsail",
        &[
            required("access_key_id", "of an IAM user that may change the zone"),
            secret("secret_access_key", "its secret"),
            optional_secret("session_token", "of a temporary access key"),
            optional("region", "[us-east-1]"),
            optional("domain", "the zone, where its name is another"),
        ],
    ),
    provider("linode", "Linode (Akamai)", &[AUTH_TOKEN]),
    provider("luadns", "LuaDNS", &[required("api_username", "the account's e-mail address"), API_TOKEN]),
    provider("mythicbeasts", "Mythic Beasts", &[required("username", "an API key's identifier"), PASSWORD]),
    provider(
        "namecheap",
        "Namecheap",
        &[
            required("api_user", "the account that the key belongs to"),
            API_KEY,
            required("client_ip", "this machine's address, which the account must allow"),
            optional("username", "the account that the zone belongs to [api_user]"),
        ],
    ),
    provider("namedotcom", "Name.com", &[USERNAME, API_TOKEN]),
    provider("namesilo", "NameSilo", &[API_KEY]),
    provider(
        "netcup",
        "netcup",
        &[required("customer_number", "of the account"), API_KEY, secret("api_password", "the API key's password")],
    ),
    provider("netlify", "Netlify", &[ACCESS_TOKEN]),
    provider("nifcloud", "NIFCLOUD", &[ACCESS_KEY, SECRET_KEY]),
    provider("ns1", "NS1 (IBM)", &[API_KEY]),
    provider(
        "oraclecloud",
        "Oracle Cloud DNS",
        &[
            required("tenancy_ocid", "ocid1.tenancy.…"),
            required("user_ocid", "ocid1.user.…"),
            required("fingerprint", "of the user's API key"),
            secret("private_key_pem", "the API key, PEM"),
            optional_secret("private_key_password", "where the API key is encrypted"),
            required("region", "eu-frankfurt-1, …"),
            required("compartment_ocid", "the compartment that the zone is in"),
        ],
    ),
    provider(
        "ovh",
        "OVHcloud",
        &[
            required("application_key", "the application's identifier"),
            secret("application_secret", "its secret"),
            secret("consumer_key", "a consumer key with the right to change the zone"),
            required("endpoint", "ovh-eu, ovh-us, ovh-ca, …").takes(DnsValue::OneOf(OVHS)),
        ],
    ),
    provider(
        "pdns",
        "PowerDNS Authoritative",
        &[
            API_KEY,
            optional("endpoint", "of its HTTP API [http://localhost:8081]").takes(DnsValue::Url),
            optional("server_name", "[localhost]"),
        ],
    ),
    provider("plesk", "Plesk", &[required("base_url", "https://HOST:8443").takes(DnsValue::Url), API_KEY]),
    provider("porkbun", "Porkbun", &[API_KEY, secret("secret_api_key", "its secret")]),
    provider(
        "rfc2136",
        "DNS UPDATE with TSIG (RFC 2136, RFC 8945): BIND, Knot, PowerDNS, …",
        &[
            required("server", "ADDRESS:PORT of the primary server; the port is 53 where none is said")
                .takes(DnsValue::Server),
            required("key_name", "the TSIG key's name"),
            optional("key_algorithm", "hmac-sha256, hmac-sha384 or hmac-sha512 [hmac-sha256]")
                .takes(DnsValue::OneOf(ALGORITHMS)),
            secret("key", "the TSIG key, base64"),
        ],
    ),
    provider(
        "route53",
        "Amazon Route 53",
        &[
            required("access_key_id", "of an IAM user that may change the zone"),
            secret("secret_access_key", "its secret"),
            optional_secret("session_token", "of a temporary access key"),
            optional("region", "[us-east-1]"),
            optional("hosted_zone_id", "where several zones have the name"),
            optional("private_zone_only", "whether only private zones are meant [false]").takes(DnsValue::Flag),
            optional("endpoint", "of the API, where it is another").takes(DnsValue::Url),
        ],
    ),
    provider("safedns", "SafeDNS (ANS)", &[AUTH_TOKEN]),
    provider("scaleway", "Scaleway", &[API_TOKEN]),
    provider(
        "selectel",
        "Selectel",
        &[
            required("username", "a service user"),
            PASSWORD,
            required("account_id", "the account's number"),
            required("project_id", "the project that the zone is in"),
        ],
    ),
    provider("simplycom", "Simply.com", &[required("account_name", "the account"), API_KEY]),
    provider("spaceship", "Spaceship", &[API_KEY, API_SECRET]),
    provider(
        "tencentcloud",
        "Tencent Cloud DNSPod",
        &[
            required("secret_id", "a key's identifier"),
            SECRET_KEY,
            optional("region", "of the endpoint"),
            optional_secret("session_token", "of a temporary key"),
        ],
    ),
    provider(
        "transip",
        "TransIP",
        &[
            required("login", "the account's name"),
            secret("private_key_pem", "a key pair's private key, PEM"),
            optional("global_key", "whether the key may be used from every address [false]").takes(DnsValue::Flag),
        ],
    ),
    provider(
        "ultradns",
        "UltraDNS",
        &[USERNAME, PASSWORD, optional("endpoint", "of the API, where it is another").takes(DnsValue::Url)],
    ),
    provider("vercel", "Vercel", &[AUTH_TOKEN, optional("team_id", "the team that the zone belongs to")]),
    provider(
        "volcengine",
        "Volcano Engine",
        &[
            ACCESS_KEY,
            SECRET_KEY,
            optional("region", "of the endpoint"),
            optional("host", "of the API, where it is another"),
            optional("scheme", "http or https [https]").takes(DnsValue::OneOf(&["https", "http"])),
        ],
    ),
    provider("vultr", "Vultr", &[API_KEY]),
    provider("websupport", "Websupport", &[API_KEY, secret("secret", "its secret")]),
    provider(
        "yandexcloud",
        "Yandex Cloud DNS",
        &[
            secret("iam_token_b64", "a service account's key in base64"),
            required("folder_id", "the folder that the zone is in"),
        ],
    ),
    provider("zoneeu", "Zone.eu", &[USERNAME, API_KEY]),
];
