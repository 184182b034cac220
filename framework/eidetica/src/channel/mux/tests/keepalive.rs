use super::*;

fn seconds(seconds: u64) -> Duration {
    NOW + Duration::from_secs(seconds)
}

#[test]
fn an_idle_peer_is_pinged_twice_and_given_up_after_a_minute() {
    let (mut mux, _) = machines();
    assert_eq!(mux.next_deadline(), Some(seconds(25)));
    mux.on_tick(seconds(24)).unwrap();
    assert!(mux.next_message().is_none());
    mux.on_tick(seconds(25)).unwrap();
    assert_eq!(drain(&mut mux).len(), 1);
    assert_eq!(mux.next_deadline(), Some(seconds(50)));
    mux.on_tick(seconds(50)).unwrap();
    assert_eq!(drain(&mut mux).len(), 1);
    assert_eq!(mux.next_deadline(), Some(seconds(60)));
    mux.on_tick(seconds(59)).unwrap();
    let error = mux.on_tick(seconds(60)).unwrap_err();
    assert!(matches!(error.sync_error(), Some(SyncError::Timeout { .. })), "{error}");
    assert!(mux.is_ended() && mux.next_deadline().is_none() && mux.next_message().is_none());
}

#[test]
fn whatever_arrives_counts_as_a_sign_of_life() {
    let (mut mux, _) = machines();
    mux.on_tick(seconds(25)).unwrap();
    mux.on_message(message(0, KIND, 0, b"hello"), seconds(40)).unwrap();
    assert_eq!(mux.next_deadline(), Some(seconds(65)));
    mux.on_tick(seconds(64)).unwrap();
    assert_eq!(drain(&mut mux).len(), 1);
}

#[test]
fn a_pong_tells_the_round_trip_time_of_its_ping() {
    let (mut here, mut there) = machines();
    here.ping(seconds(1));
    here.ping(seconds(3));
    deliver(&mut here, &mut there);
    let pongs = there.next_message().unwrap();
    let events = here.on_message(pongs.clone(), seconds(4)).unwrap();
    let rtt = |seconds| Event::Pong { rtt: Duration::from_secs(seconds) };
    assert_eq!(events, [rtt(3), rtt(1)]);
    assert!(here.on_message(pongs, seconds(5)).unwrap().is_empty(), "answered already");
    assert!(here.on_message(message(0, 6, 0, &[9; 8]), seconds(5)).unwrap().is_empty());
}

#[test]
fn without_keepalive_nothing_is_ever_due_and_pings_are_answered() {
    let (mut here, _) = machines();
    let mut there = Mux::new(MuxConfig { keepalive: None, ..config(Role::Responder) }, NOW);
    assert_eq!(there.next_deadline(), None);
    there.on_tick(seconds(1_000_000)).unwrap();
    assert!(there.next_message().is_none());
    here.ping(NOW);
    deliver(&mut here, &mut there);
    assert_eq!(deliver(&mut there, &mut here), [Event::Pong { rtt: Duration::ZERO }]);
}

#[test]
fn pings_nobody_sends_do_not_pile_up() {
    let (mut mux, _) = machines();
    for _ in 0..1_000 {
        mux.ping(NOW);
    }
    assert_eq!(drain(&mut mux).len(), 4);
}
