use std::collections::BTreeMap;

use super::super::super::testing::noise;
use super::super::stream::{CHANNEL_WINDOW, FRAME_COST, WINDOW_INITIAL};
use super::*;

/// What the frames on `stream` take off its credit.
fn cost_on(frames: &[Frame], stream: u32) -> usize {
    let counted = frames.iter().filter(|frame| frame.stream == stream && frame.kind >= 32);
    counted.map(|frame| frame.body.len() + FRAME_COST).sum()
}

fn granted_on(frames: &[Frame], stream: u32) -> usize {
    let grants = frames.iter().filter(|frame| frame.stream == stream && frame.kind == 2);
    grants.map(|frame| u32::from_le_bytes(frame.body[..].try_into().unwrap()) as usize).sum()
}

#[test]
fn sending_stops_where_credit_ends_and_goes_on_when_the_consumer_does() {
    let (mut here, mut there) = machines();
    let mut pushed = 0;
    while here.is_writable(0) || here.next_message().is_some_and(|m| there.on_message(m, NOW).is_ok()) {
        if here.is_writable(0) {
            push(&mut here, 0, Class::Bulk, vec![0; 1_000]);
            pushed += 1;
        }
        assert!(pushed < 1_000, "nobody consumes");
    }
    assert!(here.next_message().is_none());
    assert!(here.bytes_queued() >= 131_072);
    for _ in 0..60 {
        there.consumed(0, 1_000);
    }
    assert!(deliver(&mut there, &mut here).is_empty());
    assert!(here.next_message().is_some());
}

#[test]
fn whatever_the_sizes_credit_is_never_exceeded_and_everything_arrives() {
    for seed in 0..60 {
        let (mut here, mut there) = machines();
        let streams = [0, here.open(Bytes::new()).unwrap(), here.open(Bytes::new()).unwrap()];
        deliver(&mut here, &mut there);
        let dice = noise(seed, 4 * 400);
        let mut sent = BTreeMap::<u32, Vec<u32>>::new();
        let mut arrived = BTreeMap::<u32, Vec<u32>>::new();
        let (mut spent, mut granted) = (BTreeMap::<u32, usize>::new(), BTreeMap::<u32, usize>::new());
        let mut held = Vec::new();
        for (number, dice) in dice.chunks(4).enumerate() {
            let stream = streams[dice[0] as usize % 3];
            let length = match dice[1] % 4 {
                0 => 4,
                1 => 4 + usize::from(dice[2]) * 8,
                2 => 60_000 + usize::from(dice[2]) * 16,
                _ => 65_511,
            };
            let mut body = vec![0; length];
            body[..4].copy_from_slice(&(number as u32).to_le_bytes());
            push(&mut here, stream, Class::Bulk, body);
            sent.entry(stream).or_default().push(number as u32);

            // Now and then the consumer takes what it holds, in an order of its own.
            let take = if dice[3] % 3 == 0 { held.len() } else { 0 };
            let last = number == 399;
            loop {
                let mut moved = false;
                while let Some(message) = here.next_message() {
                    let mut frames = Vec::new();
                    let mut rest = message.clone();
                    while !rest.is_empty() {
                        frames.push(Frame::split_off(&mut rest).unwrap());
                    }
                    for stream in streams {
                        *spent.entry(stream).or_default() += cost_on(&frames, stream);
                        let allowed = WINDOW_INITIAL as usize + granted.get(&stream).unwrap_or(&0);
                        assert!(spent[&stream] <= allowed);
                    }
                    held.extend(there.on_message(message, NOW).unwrap());
                    moved = true;
                }
                let take = if last { held.len() } else { take.min(held.len()) };
                for event in held.drain(..take).rev() {
                    let Event::Frame { stream, body, .. } = event else { panic!("{event:?}") };
                    let number = u32::from_le_bytes(body[..4].try_into().unwrap());
                    arrived.entry(stream).or_default().push(number);
                    there.consumed(stream, body.len());
                    moved = true;
                }
                while let Some(message) = there.next_message() {
                    let mut rest = message.clone();
                    while !rest.is_empty() {
                        let frame = Frame::split_off(&mut rest).unwrap();
                        *granted.entry(frame.stream).or_default() +=
                            granted_on(std::slice::from_ref(&frame), frame.stream);
                    }
                    here.on_message(message, NOW).unwrap();
                    moved = true;
                }
                if !moved || !last {
                    break;
                }
            }
        }
        assert_eq!(here.bytes_queued(), 0, "seed {seed}: stuck");
        arrived.values_mut().for_each(|numbers| numbers.sort_unstable());
        assert_eq!(arrived, sent);
    }
}

#[test]
fn a_consumer_that_keeps_up_gets_a_wider_window() {
    let (mut here, mut there) = machines();
    let mut granted = 0;
    for _ in 0..2_000 {
        push(&mut here, 0, Class::Bulk, vec![0; 20_000]);
        for event in deliver(&mut here, &mut there) {
            if let Event::Frame { body, .. } = event {
                there.consumed(0, body.len());
            }
        }
        while let Some(message) = there.next_message() {
            let mut rest = message.clone();
            granted += granted_on(&[Frame::split_off(&mut rest).unwrap()], 0);
            here.on_message(message, NOW).unwrap();
        }
    }
    let spent = 2_000 * (20_000 + FRAME_COST);
    let window = WINDOW_INITIAL as usize + granted - spent;
    assert!((4_100_000..=4 << 20).contains(&window), "{window}");
}

#[test]
fn spending_credit_that_was_not_granted_ends_the_channel() {
    let (_, mut there) = machines();
    there.on_message(message(0, KIND, 0, &[0; 65_472]), NOW).unwrap();
    there.on_message(message(0, KIND, 0, &[0; 65_472]), NOW).unwrap();
    assert!(refuses(&mut there, message(0, KIND, 0, &[])).to_string().contains("without credit"));
}

#[test]
fn empty_frames_cost_credit_too() {
    let (_, mut there) = machines();
    for _ in 0..WINDOW_INITIAL as usize / FRAME_COST {
        there.on_message(message(0, KIND, 0, &[]), NOW).unwrap();
    }
    refuses(&mut there, message(0, KIND, 0, &[]));
}

#[test]
fn too_much_credit_ends_the_channel() {
    let (mut here, _) = machines();
    here.on_message(message(0, 2, 0, &0_u32.to_le_bytes()), NOW).unwrap();
    here.on_message(message(0, 2, 0, &(1_u32 << 23).to_le_bytes()), NOW).unwrap();
    refuses(&mut here, message(0, 2, 0, &u32::MAX.to_le_bytes()));
}

#[test]
fn consuming_what_never_arrived_grants_nothing() {
    let (_, mut there) = machines();
    there.consumed(0, 1 << 30);
    there.consumed(77, 1 << 30);
    assert!(there.next_message().is_none());
}

#[test]
fn what_may_wait_is_bounded() {
    let (mut here, _) = machines();
    let mut pushed = 0_usize;
    let error = loop {
        match here.push(0, Class::Bulk, KIND, 0, vec![0; 60_000].into()) {
            Ok(()) => pushed += 60_000,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), eidetica_kernel::ErrorKind::LimitExceeded);
    assert!(pushed <= 33 << 20);
    let stream = here.open(Bytes::new()).unwrap();
    assert!(!here.is_writable(stream), "the channel is full");
}

#[test]
fn the_longest_frame_always_gets_its_turn() {
    // Whatever was sent and consumed before, what is left plus what was granted covers it.
    for before in (0..65_511).step_by(7).chain(65_300..65_511) {
        let (mut here, mut there) = machines();
        for length in [before, 65_511] {
            push(&mut here, 0, Class::Bulk, vec![0; length]);
            let events = deliver(&mut here, &mut there);
            assert_eq!(events.len(), 1, "stuck after a body of {before}");
            there.consumed(0, length);
            deliver(&mut there, &mut here);
        }
    }
}

/// Streams enough to use up the credit of the channel, each with its own used up.
fn flooded() -> (Mux, Mux, Vec<u32>) {
    let (mut here, mut there) = machines();
    let streams: Vec<u32> = (0..160).map(|_| here.open(Bytes::new()).unwrap()).collect();
    let mut frames = 0;
    for stream in &streams {
        for _ in 0..2 {
            push(&mut here, *stream, Class::Bulk, vec![0; 65_472]);
            let events = deliver(&mut here, &mut there);
            frames += events.iter().filter(|event| matches!(event, Event::Frame { .. })).count();
        }
    }
    assert_eq!(frames, CHANNEL_WINDOW as usize / 65_536);
    (here, there, streams)
}

#[test]
fn a_peer_cannot_make_this_node_hold_more_than_the_channels_credit() {
    let (mut here, mut there, streams) = flooded();
    assert!(here.bytes_queued() > 0 && here.next_message().is_none());
    assert!(refuses(&mut there, message(streams[159], KIND, 0, b"")).to_string().contains("without credit"));
}

#[test]
fn the_channels_credit_comes_back_when_frames_are_consumed() {
    let (mut here, mut there, streams) = flooded();
    for stream in &streams[..8] {
        there.consumed(*stream, 65_472);
        there.consumed(*stream, 65_472);
    }
    deliver(&mut there, &mut here);
    assert_eq!(deliver(&mut here, &mut there).len(), 16);
}

#[test]
fn the_channels_credit_comes_back_when_streams_are_reset() {
    let (mut here, mut there, streams) = flooded();
    for stream in &streams[..4] {
        there.reset(*stream, super::super::Reason::Done, "");
    }
    deliver(&mut there, &mut here);
    assert_eq!(deliver(&mut here, &mut there).len(), 0, "granted in portions of 1 MiB");
    for stream in &streams[4..8] {
        here.reset(*stream, super::super::Reason::Done, "");
    }
    deliver(&mut here, &mut there);
    deliver(&mut there, &mut here);
    assert_eq!(deliver(&mut here, &mut there).len(), 16);
}

#[test]
fn frames_that_cross_a_reset_give_the_channels_credit_back() {
    let (mut here, mut there) = machines();
    for _ in 0..400 {
        let stream = here.open(Bytes::new()).unwrap();
        deliver(&mut here, &mut there);
        push(&mut here, stream, Class::Bulk, vec![0; 60_000]);
        let crosses = here.next_message().unwrap();
        there.reset(stream, super::super::Reason::Done, "");
        assert!(there.on_message(crosses, NOW).unwrap().is_empty());
        deliver(&mut there, &mut here);
    }
}

#[test]
fn more_of_the_channels_credit_than_was_spent_ends_it() {
    let (mut here, _) = machines();
    here.on_message(message(0, 9, 0, &0_u32.to_le_bytes()), NOW).unwrap();
    refuses(&mut here, message(0, 9, 0, &1_u32.to_le_bytes()));
}
