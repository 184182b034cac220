use eidetica_kernel::ErrorKind;

use super::super::STREAMS_MAX;
use super::*;

fn opened(mux: &mut Mux, body: &'static str) -> u32 {
    mux.open(body.into()).unwrap()
}

#[test]
fn each_side_numbers_its_own_streams() {
    let (mut here, mut there) = machines();
    assert_eq!([opened(&mut here, "a"), opened(&mut here, "b")], [1, 3]);
    assert_eq!([opened(&mut there, "c"), opened(&mut there, "d")], [2, 4]);
    let events = deliver(&mut here, &mut there);
    assert_eq!(events[0], Event::Opened { stream: 1, body: "a".into() });
    assert_eq!(events[1], Event::Opened { stream: 3, body: "b".into() });
    assert_eq!(deliver(&mut there, &mut here).len(), 2);
}

#[test]
fn a_closed_direction_is_silent_and_the_other_goes_on() {
    let (mut here, mut there) = machines();
    let stream = opened(&mut here, "");
    push(&mut here, stream, Class::Bulk, "last");
    here.close(stream);
    here.close(stream);
    assert_eq!(here.push(stream, Class::Bulk, KIND, 0, Bytes::new()).unwrap_err().kind(), ErrorKind::Closed);
    let events = deliver(&mut here, &mut there);
    assert!(matches!(&events[1], Event::Frame { body, .. } if body == "last"));
    assert_eq!(events[2..], [Event::Closed { stream }]);
    push(&mut there, stream, Class::Bulk, "reply");
    there.close(stream);
    let events = deliver(&mut there, &mut here);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1], Event::Closed { stream });
    assert!(!here.is_writable(stream) && !there.is_writable(stream));
}

#[test]
fn close_follows_everything_queued_even_without_credit() {
    let (mut here, mut there) = machines();
    let stream = opened(&mut here, "");
    for class in [Class::Bulk, Class::Control] {
        for _ in 0..2 {
            push(&mut here, stream, class, vec![0; 50_000]);
        }
    }
    here.close(stream);
    let mut bytes = 0;
    loop {
        let events = deliver(&mut here, &mut there);
        assert!(!events.is_empty());
        for event in &events {
            if let Event::Frame { body, .. } = event {
                bytes += body.len();
                there.consumed(stream, body.len());
            }
        }
        if events.last() == Some(&Event::Closed { stream }) {
            break;
        }
        deliver(&mut there, &mut here);
    }
    assert_eq!(bytes, 200_000);
}

#[test]
fn a_reset_stream_is_gone_both_ways_and_what_crosses_it_is_ignored() {
    let (mut here, mut there) = machines();
    let stream = opened(&mut here, "");
    deliver(&mut here, &mut there);
    push(&mut here, stream, Class::Bulk, vec![0; 100]);
    push(&mut there, stream, Class::Bulk, "crosses");
    let crosses = there.next_message().unwrap();
    here.reset(stream, super::super::Reason::Refused, "not yours");
    assert_eq!(here.bytes_queued(), 0);
    assert!(here.on_message(crosses, NOW).unwrap().is_empty());
    let reset = Event::Reset { stream, reason: super::super::Reason::Refused, text: "not yours".into() };
    assert_eq!(deliver(&mut here, &mut there), [reset]);
    assert!(there.push(stream, Class::Bulk, KIND, 0, Bytes::new()).is_err());
    there.reset(stream, super::super::Reason::Done, "");
    there.consumed(stream, 5);
    assert!(there.next_message().is_none());
}

#[test]
fn stream_0_cannot_be_closed_or_reset() {
    let (mut here, mut there) = machines();
    here.close(0);
    here.reset(0, super::super::Reason::Done, "");
    push(&mut here, 0, Class::Control, "still here");
    assert_eq!(deliver(&mut here, &mut there).len(), 1);
    refuses(&mut there, message(0, 3, 0, &[]));
    refuses(&mut here, message(0, 4, 0, &[0, 0]));
}

#[test]
fn streams_are_bounded_and_their_places_free_again() {
    let (mut here, mut there) = machines();
    for round in 0..3 {
        let streams: Vec<u32> = (0..STREAMS_MAX).map(|_| opened(&mut here, "")).collect();
        assert_eq!(here.open(Bytes::new()).unwrap_err().kind(), ErrorKind::LimitExceeded);
        deliver(&mut here, &mut there);
        for stream in streams {
            match round {
                0 => here.reset(stream, super::super::Reason::Done, ""),
                1 => there.reset(stream, super::super::Reason::Done, ""),
                _ => {
                    here.close(stream);
                    there.close(stream);
                }
            }
        }
        deliver(&mut there, &mut here);
        deliver(&mut here, &mut there);
    }
    opened(&mut here, "");
    deliver(&mut here, &mut there);
}

#[test]
fn a_peer_that_opens_too_many_streams_is_sent_away() {
    let (_, mut there) = machines();
    for number in 0..STREAMS_MAX as u32 {
        there.on_message(message(2 * number + 1, 1, 0, b"x"), NOW).unwrap();
    }
    refuses(&mut there, message(2 * STREAMS_MAX as u32 + 1, 1, 0, b"x"));
}

#[test]
fn streams_are_opened_by_their_owner_once_and_ascending() {
    for wrong in [2, 0, 3, 5] {
        let (_, mut there) = machines();
        there.on_message(message(5, 1, 0, b""), NOW).unwrap();
        refuses(&mut there, message(wrong, 1, 0, b""));
    }
    let (_, mut there) = machines();
    refuses(&mut there, message(1, 1, 0, &[0; 1_025]));
}

#[test]
fn frames_for_a_stream_never_opened_end_the_channel() {
    for kind in [2, 3, 4, 8, 20, KIND] {
        for stream in [1, 2] {
            let (_, mut there) = machines();
            refuses(&mut there, message(stream, kind, 0, &[0; 4]));
        }
    }
}

#[test]
fn frames_after_ones_own_close_end_the_channel() {
    for kind in [3, KIND] {
        let (_, mut there) = machines();
        there.on_message(message(1, 1, 0, b""), NOW).unwrap();
        there.on_message(message(1, 3, 0, b""), NOW).unwrap();
        refuses(&mut there, message(1, kind, 0, b""));
    }
}

#[test]
fn goodbye_is_the_last_word() {
    let (mut here, mut there) = machines();
    push(&mut here, 0, Class::Bulk, "dropped");
    here.goodbye(super::super::Reason::GoingAway, "stopping");
    here.goodbye(super::super::Reason::Failed, "once only");
    let goodbye = Event::Goodbye { reason: super::super::Reason::GoingAway, text: "stopping".into() };
    assert_eq!(deliver(&mut here, &mut there), [goodbye]);
    assert!(here.is_ended() && there.is_ended());
    assert!(here.on_message(message(0, KIND, 0, b"late"), NOW).unwrap().is_empty());
    for mux in [&mut here, &mut there] {
        assert_eq!(mux.open(Bytes::new()).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(mux.push(0, Class::Live, KIND, 0, Bytes::new()).unwrap_err().kind(), ErrorKind::Closed);
        assert!(mux.next_message().is_none());
        assert!(mux.next_deadline().is_none());
    }
    assert!(there.on_message(message(0, KIND, 0, b"more"), NOW).is_err());
}

#[test]
fn only_sync_messages_with_agreed_flags_can_be_pushed() {
    let plain = MuxConfig { compression: None, ..config(Role::Initiator) };
    let mut mux = Mux::new(plain, NOW);
    for (kind, flags) in [(5, 0), (31, 0), (KIND, 1), (KIND, 2)] {
        let error = mux.push(0, Class::Live, kind, flags, Bytes::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let (mut mux, mut there) = machines();
    mux.push(0, Class::Live, KIND, 1, "squeezed".into()).unwrap();
    assert!(matches!(&deliver(&mut mux, &mut there)[..], [Event::Frame { flags: 1, .. }]));
}
