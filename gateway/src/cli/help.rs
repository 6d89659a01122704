//! The long texts of `--help`.

pub(super) const ABOUT: &str = "\
landlord hosts one application for many companies: one process, one database and one domain per company.

Every file in the folder `tenants.d` is a company, a tenant. Drop `acme.toml` there and, about a second later, \
https://acme.<zone> answers: landlord has made its folder and certificate, started its worker and found it healthy. \
Edit the file and its worker is replaced without losing a request; remove it and its worker is stopped, its data kept. \
An empty file is a good one: everything has a default.";

pub(super) const MORE: &str =
    "`landlord --help` tells more: examples, files, exit codes. So does `landlord VERB --help`.";

pub(super) const AFTER: &str = "\
Examples:
  landlord run                          on a laptop: no root, no settings, https on port 8443
  touch tenants.d/acme.toml             let a company in: https://acme.localhost:8443
  landlord check && landlord reload     before and after an edit; reload is only for the impatient
  landlord status --watch               what everybody is doing
  landlord logs acme -f                 what its worker writes
  landlord env acme set API_KEY         a secret for its worker: asked for, not shown
  landlord certs                        every certificate: until when, and what is missing
  landlord doctor                       what this machine gives, and what is missing
  landlord status --json | jq -r '.[] | select(.state != \"running\") | .name'

Files:
  landlord.toml                         the gateway's own settings; every one has a default
  tenants.d/NAME.toml                   one tenant: https://NAME.<zone>; NAME is a-z, 0-9, -
  <state>/tenants/NAME/                 where its worker runs: its data, and its secrets in .env
  <state>/logs/NAME.log                 what its worker writes; access.log: a line a request
  <state>/certs/                        certificates and their keys; our own authority: `landlord trust`
  <run>/control.sock                    where a running landlord is asked

  With /etc/landlord/landlord.toml, <state> is /var/lib/landlord and <run> is /run/landlord.
  With another landlord.toml, <state> is .landlord beside it; without any, .landlord here.
  Then <run> is <state>/run, and tenants.d is beside .landlord.

Environment:
  LANDLORD_CONFIG                       the same as --config
  NO_COLOR                              no colours, please

Exit codes:
  0   done
  1   failed; a sentence on stderr says why
  2   the command line is wrong
  69  landlord is not running
  78  a file is wrong; file, line, column and reason are shown";

pub(super) const RUN: &str = "\
Run the gateway in the foreground, until SIGTERM or Ctrl-C.

landlord listens, starts a worker for every tenant, and watches the folder of tenants. SIGTERM and Ctrl-C stop it: requests \
in flight are finished first, then every worker is stopped. SIGHUP reads all files again and does what `landlord upgrade` \
does, with the file that it was started from. Without root everything runs as you; as root every tenant has a user of \
its own, unless landlord.toml says users = \"none\".

A wrong landlord.toml ends it with code 78 and all that is wrong. A wrong tenant's file does not: it is shown by `landlord \
status`, and that tenant keeps its last good settings.";

pub(super) const CHECK: &str = "\
Check landlord.toml and every tenant's file; needs no running landlord.

Shows every error of every file at once, each as FILE:LINE:COLUMN with the line and, if there is one, the word that was \
probably meant. Code 0 if all is right, 78 if not. The .env files are checked as well, except by root where \
tenants are users of their own; their values are never shown.

With --json: {\"tenants\": [names], \"errors\": [{tenant, file, line, column, text, error, hint}]}.";

pub(super) const STATUS: &str = "\
Show what every tenant, or one, is doing.

States: starting, running, holding (a deploy or a restart; requests wait), sleeping (idle; the next request wakes it), \
backoff (it failed and is started again soon), failed (it failed too often; tried every 5 minutes), suspended (its file says \
so), stopped (`landlord stop`), rejected (its file is wrong, and it never had a good one), removed (its file is gone).

A custom domain that is not served yet, or not for long any more, has a line of its own below its tenant.

Files that are wrong and what landlord waits for are listed below the table.

With --json an array, one object a tenant: name, state, reason, hosts, url, app, environment, port, pid, generation, \
restarts, uptime_s, since, domains (one object a custom domain that has a certificate of its own: host, state, reason, \
not_after).";

pub(super) const START: &str = "\
Start a tenant that was stopped, and wait until it serves.

Undoes `landlord stop`; a tenant that failed is tried again at once. Code 0 when it serves, 1 when it will not, and why.";

pub(super) const STOP: &str = "\
Stop a tenant, and remember it; its data is kept.

Requests in flight are finished, then its worker and all that it started are stopped. Visitors get a page that says so, with \
status 503. It stays stopped when landlord is restarted, until `landlord start`.";

pub(super) const RESTART: &str = "\
Replace a tenant's worker without losing a request.

A new worker is started with the same settings; it takes over once it is healthy, and the old one finishes what it has. If \
the new one never becomes healthy, the old one goes on serving, and the code is 1. Returns when it is done.";

pub(super) const RELOAD: &str = "\
Read landlord.toml and every tenant's file again, now.

The folder of tenants is watched: this is for landlord.toml, for file systems that tell nothing, and for the impatient. If \
more than a fifth of the tenants (and more than three) would vanish at once, landlord takes it for an accident, keeps \
them all and says so in `landlord status`; --accept-removals says that it was meant.";

pub(super) const UPGRADE: &str = "\
Become another version of landlord, without losing a request.

The landlord that runs becomes this program, or the one that --binary names, in place: the same process, the same workers. \
The new one first looks at a copy of what it would go on from. If it cannot take over, the old one runs on, nothing has \
changed, and the code is 1. If the program is the very one that runs, only the proxy is replaced. Settings in force stay in \
force; workers keep the program that they were started with.

A new proxy is started on the same sockets; once it accepts, the one before it accepts no more and ends what it has: answers, \
downloads and WebSockets go on, each to a deadline of its own. If the new one fails, or has not begun to serve after 10 s, \
it is ended, the one before it serves on, and the code is 1.

At most four older proxies end their last connections at a time; a further upgrade waits for one of them, says so, and cuts \
nobody. Returns when the new proxy serves.";

pub(super) const LOGS: &str = "\
Show what a tenant's worker wrote.

Reads <state>/logs/NAME.log and the rotated files beside it; needs no running landlord. On a terminal, what could move the \
cursor is made visible instead.";

pub(super) const ENV: &str = "\
Show and edit a tenant's secrets, its .env.

Every setting in <state>/tenants/NAME/.env is a variable in its worker's environment, and nowhere else: it is in no log, no \
status, no error and no command line of landlord's. Edits are made by a process that is the tenant, whole or not at all; \
comments, order and every other line stay as they are. A change is a deploy: a new worker takes over once it is healthy, \
and the old one finishes what it has. Of a tenant that is stopped, it is in force at the next start. Needs a running landlord.

Without an order the names are listed.";

pub(super) const ENV_LIST: &str = "\
List the names of a tenant's settings; values are masked.

Only whether a value is empty, of 1 to 7, 8 to 31, or of 32 and more characters is told, so that one that was cut short shows. \
--reveal shows the values themselves: mind who looks at the screen, and where the output goes.

With --json an array, one object a setting: name, value (null without --reveal), length (empty, short, medium, long).";

pub(super) const ENV_SET: &str = "\
Set values in a tenant's .env, and replace its worker without losing a request.

  landlord env acme set API_KEY                   asks for the value, and does not show what is typed
  pass show acme/api | landlord env acme set API_KEY
  landlord env acme set TLS_KEY --file key.pem
  landlord env acme set LOG_LEVEL=debug PAGE=50   for what is no secret: others see it in `ps` while this runs, and the \
shell's history keeps it

Of standard input and of a file one line end at the very end is left away. A name that is there keeps its place and the \
comment behind it; a new one comes to the end. Several settings at once are one deploy. Names that landlord itself sets, such \
as PORT, are refused. Code 0 when a worker with the new values serves, 1 when it does not, and why; if the new worker never \
becomes healthy, the old one goes on serving with the old values, and the new ones stay in the file.";

pub(super) const ENV_UNSET: &str = "\
Remove settings from a tenant's .env, and replace its worker without losing a request.

Their lines go; comments above them stay. A name that is not there is no error. Codes as of `set`.";

pub(super) const CERTS: &str = "\
Show every certificate: until when, and what is missing.

States: dns (a record is missing or wrong; the line below says which, and what it must be), waiting (for its turn, or for \
the next try), ordering, valid, expiring (it ends soon, and could not be renewed), failed (there is none, and the last try \
brought nothing). Renewals happen by themselves. Those that need somebody are listed first, with the word alarm: they end \
within 14 days, or within a sixth of their life where that is less, and renewing them fails.

With --json an array, one object a certificate: name, names, tenant, source (acme, files, local), state, reason, issuer, \
serial, not_before, not_after, next_renewal, next_try, last_error, last_error_at, failures, expires_in_s, alarm. Times are RFC \
3339, UTC; what there is not, is null.

Code 0 also where something needs somebody: `landlord certs --json | jq -e 'all(.alarm | not)'` asks that.";

pub(super) const CERTS_RENEW: &str = "\
Order a certificate anew, now, and wait until it is served.

No connection is touched. Not needed in everyday life: for a key that was lost, or a certificate that will be revoked. \
At most 3 certificates of the same names are ordered in 7 days, which stays within what Let's Encrypt allows. Code 0 when the \
new one is served, 1 when it was not to be had, and why; the old one is then served as before.";

pub(super) const CERTS_CHECK: &str = "\
Order certificates and throw them away: whether it would work.

Goes the whole way, DNS records and challenges included, with an account of its own, at Let's Encrypt's staging \
environment where the settings name Let's Encrypt, and else at their directory, unless --directory says another. What is \
served is not touched. A line a certificate; code 0 when all would be issued, 1 when one would not.";

pub(super) const DNS: &str = "\
Who can write the zone's challenge records.

A certificate for *.<zone> is to be had by DNS alone: landlord writes a TXT record below _acme-challenge.<zone>, and takes \
it away again. [dns] in landlord.toml says at which provider.";

pub(super) const DNS_PROVIDERS: &str = "\
List the DNS providers, or show the settings of one.

With a NAME: its [dns] table, to be copied into landlord.toml. Who is not among them can be reached by `exec`, a program of \
yours, or by a CNAME of _acme-challenge.<zone> to a zone at one of them. Needs no running landlord.

With --json an array, one object a provider: name, title, settings (an array of {key, required, secret, about}), either \
(sets of settings, one of which must be there whole; empty where `required` says all).";

pub(super) const TRUST: &str = "\
Have this machine trust landlord's own authority.

Where `tls.provider` is \"local\", landlord is its own authority, which nobody knows. Without a flag: where its root is, which \
names it covers, and who trusts it. --install puts it into Debian's store (for curl and most programs; needs root) and into \
the stores of this user's Chrome and Firefox, by certutil of libnss3-tools; with sudo, those of who called it. --remove takes \
it out of all of them.

The root can speak for the zone, localhost, names for private use and the custom domains of tenants' files alone: a stolen key \
cannot speak for the rest of the web. With a new custom domain there is a new root, and --install is due again.";

pub(super) const FIREWALL: &str = "\
Keep tenants from each other's ports.

Workers listen on loopback, which every user of a machine reaches. This loads one table of nftables, inet \
landlord_FIRST_LAST after [ports], all of it at once: who opens a connection from this machine to one of these ports, and is \
neither root nor landlord's proxy, is told that nobody listens there. Whatever else of yours listens in that range is \
reached by root alone, too: choose other [ports] then. Open connections, other ports and other tables are not touched.

landlord.service runs it before each start; landlord run does the same by itself, as root with users for tenants, and takes \
the rules away when it ends. Both try from time to time whether they still hold, and `landlord status` says so when they do \
not. For root; needs nft, of the package nftables, and no running landlord.";

pub(super) const DOCTOR: &str = "\
Tell what this machine gives, what landlord therefore does or does not do, and how to get the rest.

Looks at the settings, the kernel, systemd, the addresses to listen on and who has them, users, limits, disk, memory, clock \
and what certificates need. Needs no root, no landlord.toml and no running landlord, and changes nothing; root sees more, and what a service \
will find.

ok: as it should be. note: good to know. warning: less than there could be. problem: landlord does not run like this, or \
not for long. Code 0 when nothing is a problem, 1 when something is.

With --json an array, one object a finding: name, level (ok, note, warning, problem), found, means, remedy (or null).";
