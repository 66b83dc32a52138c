//! KubeArmor's relay is listened to, whatever it does.

mod authority;
mod server;
mod tls;

use std::sync::atomic::Ordering;

use learner::promotion::Missed;
use learner::telemetry::{Feed, Followed, Heard, Relay, RelayError};
use server::{Manner, Server, Tale};
use tokio::net::TcpListener;
use tokio::sync::Notify;

fn relay(server: &Server) -> Relay {
    Relay {
        address: server.address.to_string(),
        tls: None,
        feed: Feed::All,
    }
}

/// What is heard until `enough` says so.
async fn heard(relay: &Relay, enough: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
    let mut all = Vec::new();
    let done = Notify::new();
    let mut sink = |one| {
        all.push(one);
        if enough(&all) {
            done.notify_one();
        }
    };
    let end = relay.listen(done.notified(), &mut sink).await;
    end.expect("it is a relay");
    all
}

fn missed(all: &[Heard]) -> Vec<&Missed> {
    let interruptions = all.iter().filter_map(|one| match one {
        Heard::Interrupted(interruption) => {
            assert!(interruption.from <= interruption.to);
            Some(&interruption.why)
        }
        Heard::Message(_) => None,
    });
    interruptions.collect()
}

fn messages(all: &[Heard]) -> usize {
    all.iter()
        .filter(|one| matches!(one, Heard::Message(_)))
        .count()
}

#[tokio::test]
async fn alerts_and_telemetry_are_the_same_messages_as_in_json() {
    let server = Server::with(&[Manner::Well]).await;
    let all = heard(&relay(&server), |all| all.len() == 2).await;
    let json = |fields: &str| {
        let text = format!(
            r#"{{"Timestamp":1700000000,"UpdatedTime":"2026-11-28T01:02:03.000001Z","NamespaceName":"shop",
            "Owner":{{"Ref":"Deployment","Name":"web"}},"PodName":"web-1","Labels":"app=web","ContainerID":"5d1f",
            "ContainerName":"web","ContainerImage":"web:1","ParentProcessName":"/parent","ProcessName":"/program",
            "Source":"/program a","Operation":"File","Resource":"/etc/x","Result":"Passed","Cwd":"/cwd/",
            "TTY":"pts0",{fields}}}"#
        );
        learner::telemetry::Message::parse(text.as_bytes()).expect("a message")
    };
    let alert = json(
        r#""UID":-2,"PolicyName":"DefaultPosture","Type":"MatchedPolicy","Data":"lsm=FILE_OPEN",
        "Action":"Audit""#,
    );
    let log = json(r#""UID":100,"Type":"ContainerLog","Data":"syscall=SYS_OPEN flags=O_RDONLY""#);
    for message in [alert, log] {
        assert!(
            all.contains(&Heard::Message(Box::new(message.clone()))),
            "{message:?}: {all:?}"
        );
    }
}

#[tokio::test]
async fn alerts_are_heard_though_there_is_no_telemetry() {
    let server = Server::with(&[Manner::OnlyAlerts]).await;
    let all = heard(&relay(&server), |all| !all.is_empty()).await;
    assert_eq!(messages(&all), 1);
}

#[tokio::test]
async fn a_stream_that_ends_or_breaks_is_opened_again_and_the_time_between_is_told() {
    for (manners, ended) in [
        (&[Manner::Ends, Manner::Well][..], true),
        (&[Manner::Drops, Manner::Well], false),
        (&[Manner::Malformed, Manner::Well], false),
        (&[Manner::Huge, Manner::Well], false),
        // While it is connected again, too.
        (&[Manner::Drops, Manner::Garbage, Manner::Well], false),
    ] {
        let server = Server::with(manners).await;
        let all = heard(&relay(&server), |all| {
            matches!(all, [.., Heard::Message(_)]) && !missed(all).is_empty()
        })
        .await;
        let missed = missed(&all);
        assert_eq!(missed.len(), 1, "{manners:?}: {all:?}");
        assert_eq!(*missed[0] == Missed::Ended, ended, "{manners:?}: {all:?}");
    }
}

#[tokio::test]
async fn an_end_while_nothing_can_be_heard_is_an_interruption() {
    let server = Server::with(&[Manner::Ends, Manner::Garbage]).await;
    let mut all = Vec::new();
    let until = server.again.notified();
    let end = relay(&server).listen(until, &mut |one| all.push(one)).await;
    assert_eq!(end, Ok(()));
    assert!(
        matches!(all[..], [Heard::Message(_), Heard::Interrupted(_)]),
        "{all:?}"
    );
}

#[tokio::test]
async fn an_endless_stream_ends_when_it_is_to_and_is_not_kept() {
    let server = Server::with(&[Manner::Endless]).await;
    let mut taken = 0usize;
    let done = Notify::new();
    let mut sink = |_| {
        taken += 1;
        if taken == 5_000 {
            done.notify_one();
        }
    };
    let end = relay(&server).listen(done.notified(), &mut sink).await;
    end.expect("a relay");
    // What waits is bounded, so the server had to wait as well.
    let sent = server.sent.load(Ordering::Relaxed);
    assert!(taken >= 5_000 && sent < taken + 20_000, "{taken} of {sent}");
}

#[tokio::test]
async fn what_is_no_relay_is_an_error_that_names_it() {
    let server = Server::with(&[Manner::Unwell]).await;
    let listen = async |relay: Relay| relay.listen(std::future::pending(), &mut |_| {}).await;
    let error = listen(relay(&server)).await.expect_err("not well");
    assert!(matches!(error, RelayError::Unwell { .. }), "{error}");
    assert!(
        error.to_string().contains(&server.address.to_string()),
        "{error}"
    );

    let server = Server::with(&[Manner::Garbage]).await;
    listen(relay(&server)).await.expect_err("no HTTP/2");

    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = nobody.local_addr().expect("an address").to_string();
    drop(nobody);
    let error = listen(Relay {
        address: address.clone(),
        tls: None,
        feed: Feed::All,
    })
    .await
    .expect_err("nobody");
    assert!(error.to_string().starts_with(&address), "{error}");

    let odd = "no address\u{1b}[31m".to_owned();
    let error = listen(Relay {
        address: odd,
        tls: None,
        feed: Feed::All,
    })
    .await
    .expect_err("no address");
    assert!(matches!(error, RelayError::Address { .. }), "{error}");
    assert!(!error.to_string().contains('\u{1b}'));
}

#[tokio::test]
async fn who_wants_alerts_alone_hears_no_telemetry() {
    let server = Server::with(&[Manner::Well]).await;
    let relay = Relay {
        feed: Feed::Alerts,
        ..relay(&server)
    };
    let mut all = Vec::new();
    let until = tokio::time::sleep(std::time::Duration::from_millis(500));
    let end = relay.listen(until, &mut |one| all.push(one)).await;
    end.expect("a relay");
    let [Heard::Message(message)] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!(message.kind, "MatchedPolicy");
}

#[tokio::test]
async fn that_alerts_are_dropped_is_heard_as_it_is_said() {
    let server = Server::with(&[Manner::Throttled]).await;
    let all = heard(&relay(&server), |all| all.len() == 2).await;
    let dropped = all.iter().filter_map(|one| match one {
        Heard::Message(message) if message.operation == "AlertThreshold" => {
            Some(message.dropping_alerts_interval)
        }
        Heard::Message(_) | Heard::Interrupted(_) => None,
    });
    assert_eq!(dropped.collect::<Vec<_>>(), [30]);
}

#[tokio::test]
async fn a_slow_relay_is_waited_for_and_what_nobody_knows_is_a_message_too() {
    let server = Server::with(&[Manner::Slow]).await;
    let all = heard(&relay(&server), |all| all.len() == 4).await;
    assert_eq!((messages(&all), missed(&all).len()), (4, 0), "{all:?}");

    let server = Server::with(&[Manner::Unreadable]).await;
    let all = heard(&relay(&server), |all| all.len() == 2).await;
    assert!(
        all.iter()
            .any(|one| matches!(one, Heard::Message(of) if of.kind == "Surprise")),
        "{all:?}"
    );
}

#[tokio::test]
async fn a_relay_that_is_followed_is_so_for_good_and_it_is_told_when_it_is_not_heard() {
    // Nobody is there at first.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let relay = Relay {
        address: address.clone(),
        tls: None,
        feed: Feed::Alerts,
    };
    let heard = std::cell::RefCell::new(Vec::new());
    let away = Notify::new();
    let enough = Notify::new();
    let mut sink = |followed| {
        let word = match followed {
            Followed::Opened => "opened",
            Followed::Message(_) => "message",
            Followed::Closed(Missed::Ended) => "ended",
            Followed::Closed(_) => "broken",
        };
        let mut heard = heard.borrow_mut();
        heard.push(word);
        match heard.len() {
            1 => away.notify_one(),
            6 => enough.notify_one(),
            _ => {}
        }
    };
    let server = async {
        away.notified().await;
        let manners = &[Manner::Ends, Manner::OnlyAlerts];
        let _server = Server::at(&address, manners, Tale::default()).await;
        enough.notified().await;
    };
    tokio::select! {
        () = relay.follow(&mut sink) => {}
        () = server => {}
    }
    let heard = heard.into_inner();
    let expected = ["broken", "opened", "message", "ended", "opened", "message"];
    assert_eq!(heard, expected);
}
