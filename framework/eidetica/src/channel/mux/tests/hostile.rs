use super::super::super::testing::noise;
use super::*;

#[test]
fn unknown_types_and_flags_are_declined_and_the_channel_goes_on() {
    let (mut here, mut there) = machines();
    assert!(there.on_message(message(0, 10, 0, &[1; 100]), NOW).unwrap().is_empty());
    assert!(there.on_message(message(0, 31, 0xff, &[]), NOW).unwrap().is_empty());
    assert!(there.on_message(message(0, 200, 0x80, b"later"), NOW).unwrap().is_empty());
    there.unsupported(0, 201).unwrap();
    let declined = [10, 31, 200, 201].map(|kind| Event::Unsupported { stream: 0, kind });
    assert_eq!(deliver(&mut there, &mut here), declined);
    assert!(here.next_message().is_none(), "`unsupported` is never answered");
    push(&mut here, 0, Class::Live, "fine");
    assert_eq!(deliver(&mut here, &mut there).len(), 1);
}

#[test]
fn declined_frames_give_their_credit_back() {
    let (_, mut there) = machines();
    for _ in 0..100 {
        there.on_message(message(0, 200, 0x80, &[0; 60_000]), NOW).unwrap();
        drain(&mut there);
    }
}

#[test]
fn a_peer_that_asks_without_reading_is_sent_away() {
    for (kind, body) in [(5, &[0; 8][..]), (20, &[])] {
        let (_, mut there) = machines();
        for _ in 0..64 {
            there.on_message(message(0, kind, 0, body), NOW).unwrap();
        }
        refuses(&mut there, message(0, kind, 0, body));
    }
}

#[test]
fn malformed_frames_of_this_layer_end_the_channel() {
    let wrong: &[(u32, u8, u8, &[u8])] = &[
        (0, 0, 0, b""),
        (0, 2, 0, b"123"),
        (0, 2, 0, b"12345"),
        (0, 2, 1, b"1234"),
        (0, 5, 0, b"short"),
        (0, 6, 0, b"longer than 8"),
        (0, 7, 0, b"1"),
        (0, 7, 0, b"12\xff\xff"),
        (0, 8, 0, b""),
        (0, 8, 0, b"12"),
        (0, 7, 0, &[b'x'; 259]),
        (0, 9, 0, b"123"),
        (0, 9, 1, b"1234"),
        (1, 9, 0, b"1234"),
        (1, 5, 0, b"12345678"),
        (1, 7, 0, b"12"),
        (1, 3, 0, b"x"),
        (1, 4, 0, b""),
    ];
    for (stream, kind, flags, body) in wrong {
        let (_, mut there) = machines();
        there.on_message(message(1, 1, 0, b""), NOW).unwrap();
        refuses(&mut there, message(*stream, *kind, *flags, body));
    }
    let (_, mut there) = machines();
    refuses(&mut there, Bytes::new());
    let (_, mut there) = machines();
    refuses(&mut there, message(0, KIND, 0, b"cut").slice(..10));
}

#[test]
fn nothing_may_follow_goodbye() {
    let (_, mut there) = machines();
    let both = [message(0, 7, 0, &[0, 0]), message(0, KIND, 0, b"")].concat();
    assert!(there.on_message(both.into(), NOW).is_err());
}

#[test]
fn compression_nobody_agreed_on_ends_the_channel() {
    let mut mux = Mux::new(MuxConfig { compression: None, ..config(Role::Responder) }, NOW);
    refuses(&mut mux, message(0, KIND, 1, b"squeezed"));
}

#[test]
fn a_small_body_does_not_keep_a_long_message_in_memory() {
    let (mut here, mut there) = machines();
    push(&mut here, 0, Class::Control, "small");
    push(&mut here, 0, Class::Bulk, vec![0; 60_000]);
    let message = here.next_message().unwrap();
    let range = message.as_ptr_range();
    let bodies: Vec<bool> = there
        .on_message(message.clone(), NOW)
        .unwrap()
        .into_iter()
        .map(|event| match event {
            Event::Frame { body, .. } => range.contains(&body.as_ptr()),
            event => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(bodies, [false, true]);
}

#[test]
fn random_messages_never_panic() {
    for seed in 0..3_000 {
        let (_, mut there) = machines();
        let bytes = noise(seed, 4_096);
        for chunk in bytes.chunks(1 + seed as usize % 300) {
            // Half of the messages have a frame's shape, so that more than the first check is met.
            let message = match chunk {
                [kind, stream, flags, body @ ..] if seed % 2 == 0 => {
                    message(u32::from(*stream % 4), *kind % 40, *flags % 3, body)
                }
                _ => Bytes::copy_from_slice(chunk),
            };
            if there.on_message(message, NOW).is_err() {
                break;
            }
            drain(&mut there);
        }
    }
}

#[test]
fn altered_messages_never_panic_and_never_exceed_credit() {
    for seed in 0..3_000_u64 {
        let (mut here, mut there) = machines();
        let dice = noise(seed, 64);
        let stream = here.open("x".into()).unwrap();
        for byte in &dice[..8] {
            push(&mut here, stream, Class::Bulk, vec![*byte; usize::from(*byte)]);
        }
        here.ping(NOW);
        here.close(stream);
        let mut bytes = here.next_message().unwrap().to_vec();
        for change in dice[8..].chunks(4).take(1 + seed as usize % 5) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
            match change[2] % 3 {
                0 => bytes[at] = change[3],
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, change[3]),
            }
        }
        if let Ok(events) = there.on_message(bytes.into(), NOW) {
            let taken: usize = events
                .iter()
                .map(|event| match event {
                    Event::Frame { body, .. } => body.len(),
                    _ => 0,
                })
                .sum();
            assert!(taken <= 131_072);
        }
        drain(&mut there);
    }
}
