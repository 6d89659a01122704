//! Those that drain: how many there may be, who waits for them, and how long.

use super::*;

/// So many may drain beside the newest.
const MOST_DRAINING: usize = 4;

/// What a terminal is told, where a line that the next one overwrites is a line of its own.
struct Overwritten<R>(R);

impl<R: Read> Read for Overwritten<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        buffer[..read].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        Ok(read)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_all_proxies_and_an_upgrade_under_way() {
    let mut landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let _held = open_socket(&landlord).await;
    landlord.landlord(&["upgrade"]).expect(0);
    let [_, mut newest] = landlord.proxies()[..] else { panic!("two proxies: {:?}", landlord.proxies()) };
    let known = landlord.proxies();
    let upgrade = begin_upgrade(&landlord);
    // In time or not: either way it must be gone in the end.
    newest = eventually("another one", || landlord.proxies().into_iter().rfind(|pid| !known.contains(pid))).max(newest);
    process::signal(newest, Signal::SIGSTOP);
    assert!(landlord.stop().success());
    let (code, said) = end_of(upgrade);
    assert!(code == 0 || said.contains("landlord is stopping"), "{code}: {said}");
    landlord.wait_nobody_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_drain_at_most_and_the_next_upgrade_waits_and_cuts_nobody() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let mut sockets = Vec::new();
    let mut newest = the_proxy(&landlord);
    for _ in 0..MOST_DRAINING {
        sockets.push(open_socket_in(&landlord, newest).await);
        let known = landlord.proxies();
        landlord.landlord(&["upgrade"]).expect(0);
        newest = newcomer(&landlord, &known);
    }
    sockets.push(open_socket_in(&landlord, newest).await);
    let full = landlord.proxies();
    assert_eq!(full.len(), MOST_DRAINING + 1);
    let shown = landlord.landlord(&["status"]).expect(0).stdout;
    assert!(shown.contains("4 older proxies end their last"), "{shown}");

    // Its progress is for people: it is shown on a terminal only (script is in bsdutils).
    let program = harness::binaries::program("landlord");
    let mut terminal = process::leashed(Path::new("script"));
    terminal.args(["--quiet", "--return", "--command", &format!("{} upgrade", program.display()), "/dev/null"]);
    terminal.env("LANDLORD_CONFIG", landlord.config()).current_dir(landlord.dir());
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = process::spawn(terminal).expect("script can be started (it is in bsdutils)");
    let progress = Output::follow(Overwritten(waiting.stdout.take().expect("stdout is piped")));
    landlord.err().wait_line("it waits", 0, |line| line.contains("a new proxy waits until one of those that drain"));
    assert!(waiting.try_wait().expect("a child of ours").is_none(), "it waits");
    for (number, socket) in sockets.iter_mut().enumerate() {
        echo(socket, &format!("still {number}")).await;
    }
    assert_eq!(landlord.proxies(), full, "nobody is cut and nobody is started");

    // A line is seen when the next one overwrites it: when the proxies have counted their connections again, or at the end.
    drop(sockets.remove(1));
    let ended = process::wait(&mut waiting, harness::PATIENCE).expect("there is room");
    assert!(ended.success(), "{}", progress.text());
    progress.wait_end(harness::PATIENCE);
    assert!(progress.text().contains("4 older proxies end their last"), "what it waited for: {}", progress.text());
    assert!(progress.text().contains("a new proxy serves"), "{}", progress.text());
    assert!(!landlord.proxies().contains(&full[1]), "whose last connection ended has ended");
    for (number, socket) in sockets.iter_mut().enumerate() {
        echo(socket, &format!("and still {number}")).await;
    }
    drop(sockets);
    eventually("the newest is left", || (landlord.proxies().len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_proxy_that_hangs_is_ended_and_deploys_go_on() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let old = the_proxy(&landlord);
    let _held = open_socket(&landlord).await;
    landlord.landlord(&["upgrade"]).expect(0);
    assert!(process::signal(old, Signal::SIGSTOP));
    let crowd = Traffic::start(landlord.site("acme"), Load::new(Kind::NewConnection, 30));
    crowd.wait_answered(5);

    let told = Instant::now();
    let before = landlord.entry("acme");
    let deploy = thread::scope(|scope| {
        let deploy = scope.spawn(|| landlord.landlord(&["restart", "acme"]));
        eventually("it is ended", || (!process::alive(old)).then_some(()));
        assert!(told.elapsed() >= Duration::from_secs(2), "after {:?}", told.elapsed());
        deploy.join().expect("no panic")
    });
    deploy.expect(0);
    assert!(landlord.entry("acme").generation > before.generation);
    assert!(landlord.err().text().contains("an older proxy is ended"), "it is logged");
    crowd.wait_answered(5);
    crowd.stop().assert_none_lost(10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_waits_for_what_an_older_proxy_has_in_flight() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running").pid.expect("a pid");
    let site = landlord.site("acme");
    let mut download = site.h1().await.expect("a connection");
    download.send(site.message("GET", "/drip/40", &[], b"")).await.expect("sent");
    assert_eq!(download.head().await.expect("it has begun").status, 200);

    landlord.landlord(&["upgrade"]).expect(0);
    assert_eq!(landlord.proxies().len(), 2);
    // The newest proxy has nothing in flight for the old generation, and says so; the older one has.
    landlord.landlord(&["restart", "acme"]).expect(0);
    landlord.landlord(&["upgrade"]).expect(0);
    let mut lines = 0;
    while let Some(_line) = download.chunk().await.expect("the download goes on") {
        lines += 1;
        if lines == 10 {
            assert!(process::alive(before), "its worker waits for it");
        }
    }
    assert_eq!(lines, 40);
    drop(download);
    eventually("nothing holds the old generation any more", || (!process::alive(before)).then_some(()));
    eventually("nor the older proxies", || (landlord.proxies().len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_older_proxy_frees_whoever_waits_for_it() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running").pid.expect("a pid");
    let old = the_proxy(&landlord);
    let _held = open_socket(&landlord).await;
    landlord.landlord(&["upgrade"]).expect(0);
    landlord.landlord(&["restart", "acme"]).expect(0);
    assert!(process::alive(before), "the WebSocket is still its own");
    process::signal(old, Signal::SIGKILL);
    eventually("its worker is let go", || (!process::alive(before)).then_some(()));
    assert_eq!(landlord.proxies().len(), 1);
}
