use super::*;

/// Stream and body of what would be sent.
fn sent(mux: &mut Mux) -> Vec<(u32, Bytes)> {
    let frames = drain(mux).into_iter().filter(|frame| frame.kind == KIND);
    frames.map(|frame| (frame.stream, frame.body)).collect()
}

#[test]
fn control_goes_before_live_before_bulk() {
    let (mut mux, _) = machines();
    push(&mut mux, 0, Class::Bulk, "bulk");
    push(&mut mux, 0, Class::Live, "live");
    push(&mut mux, 0, Class::Control, "control");
    let bodies: Vec<Bytes> = sent(&mut mux).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, ["control", "live", "bulk"]);
}

#[test]
fn control_waits_for_at_most_the_message_under_way() {
    let (mut mux, _) = machines();
    for _ in 0..2 {
        push(&mut mux, 0, Class::Bulk, vec![0; 60_000]);
    }
    mux.next_message().unwrap();
    push(&mut mux, 0, Class::Control, "urgent");
    let mut next = mux.next_message().unwrap();
    assert_eq!(Frame::split_off(&mut next).unwrap().body, "urgent");
}

#[test]
fn streams_of_a_class_take_turns_and_each_keeps_its_order() {
    let (mut mux, _) = machines();
    let streams = [mux.open(Bytes::new()).unwrap(), mux.open(Bytes::new()).unwrap(), 0];
    for stream in streams {
        for number in 0..3_u8 {
            push(&mut mux, stream, Class::Bulk, vec![number]);
        }
    }
    let turns: Vec<(u32, u8)> = sent(&mut mux).into_iter().map(|(stream, body)| (stream, body[0])).collect();
    let expected: Vec<(u32, u8)> = (0..3).flat_map(|number| streams.map(|stream| (stream, number))).collect();
    assert_eq!(turns, expected);
}

#[test]
fn a_stream_without_credit_delays_no_other() {
    let (mut mux, _) = machines();
    let stalled = mux.open(Bytes::new()).unwrap();
    for _ in 0..4 {
        push(&mut mux, stalled, Class::Control, vec![0; 60_000]);
    }
    push(&mut mux, 0, Class::Bulk, "passes");
    assert!(sent(&mut mux).contains(&(0, "passes".into())));
    assert!(mux.bytes_queued() > 60_000);
    assert!(mux.next_message().is_none());
}

#[test]
fn small_frames_share_messages_which_stay_within_the_peers_limit() {
    let limited = MuxConfig { plain_bytes_max: 4_080, ..config(Role::Initiator) };
    let mut mux = Mux::new(limited, NOW);
    for _ in 0..500 {
        push(&mut mux, 0, Class::Bulk, vec![0; 32]);
    }
    let mut lengths = Vec::new();
    while let Some(message) = mux.next_message() {
        lengths.push(message.len());
    }
    assert_eq!(lengths.iter().sum::<usize>(), 500 * 40);
    assert_eq!(lengths[..4], [4_080; 4]);
    assert_eq!(mux.body_bytes_max(), 4_072);
    assert!(mux.push(0, Class::Bulk, KIND, 0, vec![0; 4_073].into()).is_err());
}

#[test]
fn the_longest_body_fills_a_message() {
    let (mut here, mut there) = machines();
    push(&mut here, 0, Class::Bulk, vec![7; 65_511]);
    let message = here.next_message().unwrap();
    assert_eq!(message.len(), 65_519);
    let events = there.on_message(message, NOW).unwrap();
    assert!(matches!(&events[..], [Event::Frame { body, .. }] if body.len() == 65_511));
}
