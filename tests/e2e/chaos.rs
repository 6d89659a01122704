//! A seeded storm of kills, files and operators; afterwards everybody is what their files say, and nothing is lost.
//!
//! `LANDLORD_CHAOS_SEED=N` throws the same dice again, `LANDLORD_CHAOS_KILLS=N` makes the storm shorter or longer.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, os::unix::fs::PermissionsExt, time::Duration};

use harness::{
    chaos::{self, App, House, Laptop, Ledger, Plan, Stopped, Storm, Weights, Wish, Wishes},
    hostile::tell,
};

/// Kills in one run.
const KILLS: u32 = 200;

const TENANTS: [(&str, App); 9] = [
    ("acme", App::Board),
    ("beta", App::Board),
    ("core", App::Socket),
    ("dune", App::Inherit),
    ("echo", App::Inherit),
    ("fern", App::Port),
    ("gulf", App::Hold),
    ("hill", App::Wrapped),
    ("calm", App::Board),
];

/// A tenant that nobody touches: its worker is never killed, its file never edited.
const SPARED: &[&str] = &["calm"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_kills_leaves_everybody_what_their_files_say() {
    let seed = chaos::seed();
    tell(format_args!("LANDLORD_CHAOS_SEED={seed}"));
    let mut wishes: Wishes = TENANTS.iter().map(|(name, app)| ((*name).to_owned(), Wish::new(name, *app))).collect();
    let setup = wishes.iter().fold(chaos::setup(), |setup, (name, wish)| setup.tenant(name, &wish.toml()));
    let mut landlord = setup.prepare();
    // As root each tenant is a user of its own, who must be able to reach its folder.
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord.start_again();
    let mut house = Laptop::new(landlord);
    chaos::converge(&house, &mut wishes).await;
    let owners = owners(&house);

    let boards: Vec<_> = TENANTS.iter().filter(|(_, app)| app.is_bundled()).map(|(name, _)| *name).collect();
    let mut ledger = Ledger::start(boards.iter().map(|name| ((*name).to_owned(), house.site(name))).collect());
    let plan = Plan {
        kills: chaos::kills(KILLS),
        pause: Duration::from_millis(400),
        weights: Weights { master: 25, proxy: 25, log: 10, worker: 40 },
    };
    let begun = std::time::Instant::now();
    let struck = Storm::new(&mut house, &mut wishes, SPARED, seed).rage(&plan);
    tell(format_args!("{} kills in {:.1?}: {:?}", plan.kills, begun.elapsed(), struck.counts));

    let convergence = chaos::converge(&house, &mut wishes).await;
    tell(format_args!("at rest after {:.1?}; helped by an operator: {:?}", convergence.took, convergence.helped));
    ledger.stop();
    tell(format_args!("{} acknowledged rows", ledger.acknowledged()));
    chaos::no_orphan(&house);
    chaos::each_port_once(&house);
    assert_eq!(self::owners(&house), owners, "each tenant has kept its uid");

    // Everybody is let in and mended, so that every board can be read and every file checked.
    for (name, wish) in &mut wishes {
        (wish.present, wish.suspended, wish.broken) = (true, false, false);
        wish.marks.push(format!("{name}-mended"));
        house.write(&house.tenants().join(format!("{name}.toml")), &wish.toml()).expect("a file is written");
        if wish.stopped != Stopped::No {
            wish.stopped = Stopped::Unknown;
        }
    }
    chaos::converge(&house, &mut wishes).await;
    chaos::files_whole(&house);
    for name in &boards {
        ledger.assert_kept(name, &house.site(name)).await;
    }

    // And once more from what is on disk.
    house.0.stop();
    house.0.wait_nobody_left();
    house.0.start_again();
    let again = chaos::converge(&house, &mut wishes).await;
    assert!(again.helped.is_empty(), "{:?}", again.helped);
    chaos::no_orphan(&house);
    chaos::each_port_once(&house);
    chaos::files_whole(&house);
    assert_eq!(self::owners(&house), owners, "each tenant has kept its uid");
    for name in &boards {
        ledger.assert_kept(name, &house.site(name)).await;
    }
    house.0.stop();
    house.0.wait_nobody_left();
}

/// Whose each tenant's folder is.
fn owners(house: &impl House) -> BTreeMap<String, u32> {
    let entries = fs::read_dir(house.state().join("tenants")).expect("the tenants' folders").flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("a folder").uid()))
        .collect()
}
