#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Waker},
};

use super::*;

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn seats(limit: u32, most: u32) -> Arc<Seats> {
    let seats = Arc::new(Seats::default());
    seats.set(Some(limit), most);
    seats
}

/// What the ticket has by now; `None`: it waits.
fn now(ticket: &mut Ticket) -> Option<Result<Seat, Crowded>> {
    match pin!(ticket.seat()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(got) => Some(got),
        Poll::Pending => None,
    }
}

fn granted(ticket: &mut Ticket) -> Seat {
    now(ticket).expect("its turn").expect("a seat")
}

#[test]
fn seats_are_bounded_and_go_to_the_next_in_line() {
    let seats = seats(2, 1);
    let (one, _two) = (seats.take().unwrap(), seats.take().unwrap());
    assert!(seats.take().is_none());
    let mut waits = seats.join(address(1), false).unwrap();
    assert!(now(&mut waits).is_none());
    assert!(seats.join(address(1), false).is_err(), "no more room");
    drop(one);
    assert!(seats.take().is_none(), "it is the other's");
    let three = granted(&mut waits);
    assert_eq!(seats.count(), (2, 0));
    drop(three);
    assert_eq!(seats.count(), (1, 0));
    assert!(now(&mut seats.join(address(1), false).unwrap()).is_some_and(|seat| seat.is_ok()), "a free one at once");
    assert_eq!(seats.count(), (1, 0));
}

#[test]
fn no_room_at_all_still_seats_whoever_finds_a_free_seat() {
    let seats = seats(1, 0);
    let seat = granted(&mut seats.join(address(1), false).unwrap());
    assert!(seats.join(address(2), false).is_err());
    drop(seat);
    assert!(seats.take().is_some());
}

#[test]
fn a_newcomer_takes_the_place_of_the_newest_of_a_flood() {
    let seats = seats(1, 3);
    let seat = seats.take().unwrap();
    let mut flood: Vec<_> = (0..3).map(|_| seats.join(address(1), false).unwrap()).collect();
    assert!(seats.join(address(1), false).is_err(), "the flood's own newest is refused");
    let mut visitor = seats.join(address(2), false).unwrap();
    assert_eq!(now(&mut flood[2]).unwrap().unwrap_err(), Crowded);
    assert_eq!(seats.count(), (1, 3));
    drop(seat);
    drop(granted(&mut flood[0]));
    drop(granted(&mut visitor));
    drop(granted(&mut flood[1]));
    assert_eq!(seats.count(), (0, 0));
}

#[test]
fn held_requests_wait_beyond_the_room() {
    let seats = seats(1, 0);
    let seat = seats.take().unwrap();
    let mut held: Vec<_> = (0..5).map(|_| seats.join(address(1), true).unwrap()).collect();
    assert_eq!(seats.count(), (1, 5));
    drop(seat);
    for ticket in &mut held {
        drop(granted(ticket));
    }
    assert_eq!(seats.count(), (0, 0));
}

#[test]
fn who_leaves_is_out_of_line_at_once_whatever_it_had() {
    let seats = seats(1, 2);
    let seat = seats.take().unwrap();
    let (leaves, stays) = (seats.join(address(1), false).unwrap(), seats.join(address(1), false).unwrap());
    drop(leaves);
    assert_eq!(seats.count(), (1, 1));
    let mut next = seats.join(address(2), false).unwrap();
    drop(seat);
    assert_eq!(seats.count(), (1, 1), "it was the turn of the one that stayed");
    assert!(now(&mut next).is_none());
    drop(stays);
    assert_eq!(seats.count(), (1, 0), "it left without having looked: the seat went on");
    drop(next);
    assert_eq!(seats.count(), (0, 0));
}

#[test]
fn a_changed_limit_seats_more_or_waits_for_fewer() {
    let seats = seats(1, 10);
    let first = seats.take().unwrap();
    let mut line: Vec<_> = (0..4).map(|_| seats.join(address(1), false).unwrap()).collect();
    seats.set(Some(3), 10);
    let more: Vec<_> = line.drain(..2).map(|mut ticket| granted(&mut ticket)).collect();
    assert_eq!(seats.count(), (3, 2));
    seats.set(Some(1), 10);
    drop(more);
    assert_eq!(seats.count(), (1, 2), "one too many ends, and nobody takes its place");
    drop(first);
    assert_eq!(seats.count(), (1, 1));
    seats.set(None, 10);
    drop(line.drain(..).map(|mut ticket| granted(&mut ticket)).collect::<Vec<_>>());
    assert_eq!(seats.count(), (0, 0));
}

/// Threads take, wait, leave in the middle and hand over: never more at once than there are seats, and none is lost.
#[test]
fn seats_are_neither_lost_nor_doubled_between_cores() {
    const LIMIT: u32 = 3;
    let seats = seats(LIMIT, 8);
    let (inside, most, served) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let threads: Vec<_> = (0..4_u8)
        .map(|core| {
            let (seats, inside) = (Arc::clone(&seats), Arc::clone(&inside));
            let (most, served) = (Arc::clone(&most), Arc::clone(&served));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(tokio::task::LocalSet::new().run_until(async {
                    let tasks: Vec<_> = (0..500_u32)
                        .map(|turn| {
                            let seats = Arc::clone(&seats);
                            let (inside, most, served) = (Arc::clone(&inside), Arc::clone(&most), Arc::clone(&served));
                            tokio::task::spawn_local(async move {
                                for _ in 0..turn % 7 {
                                    tokio::task::yield_now().await;
                                }
                                let seat = match seats.take() {
                                    Some(seat) => seat,
                                    None => {
                                        let Ok(mut ticket) = seats.join(address(core), turn % 2 == 0) else { return };
                                        if turn % 5 == 0 {
                                            tokio::task::yield_now().await;
                                            return;
                                        }
                                        let Ok(seat) = ticket.seat().await else { return };
                                        seat
                                    }
                                };
                                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                                tokio::task::yield_now().await;
                                inside.fetch_sub(1, Ordering::SeqCst);
                                served.fetch_add(1, Ordering::SeqCst);
                                drop(seat);
                            })
                        })
                        .collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                }));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= LIMIT);
    assert!(served.load(Ordering::SeqCst) >= 100, "{served:?}");
    assert_eq!(seats.count(), (0, 0));
}
