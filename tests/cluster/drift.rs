use std::io::{BufRead as _, BufReader};
use std::process::Command;

use serde_json::{Value, json};

use crate::sharing::{many_runs, revision, write};
use crate::world::world;

#[test]
fn what_is_suggested_is_compared_with_all_that_selects_the_workload_and_whose_each_is() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let three = many_runs(&revision, &["a", "b", "c"], &[]);
        write(world.admin(), "node-1", &revision, &three).await;
        let diff = |more: &[&str]| {
            let args = ["diff", "-n", &namespace, "-l", "app=web", "--cluster"];
            world.learner(&[&args[..], more].concat())
        };
        let said = diff(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.out.contains("BECOMES DENIED"), "{said:?}");

        let mut watching = world.spawn(&["diff", "-n", &namespace, "--cluster", "--watch"]);
        let mut first = String::new();
        let out = watching.stdout.as_mut().expect("its output");
        BufReader::new(out).read_line(&mut first).expect("a line");
        assert!(first.contains(": different; "), "{first}");
        let pid = watching.id().to_string();
        let ended = Command::new("kill").args(["-INT", &pid]).status();
        assert!(ended.expect("kill runs").success());
        let code = watching.wait().expect("it ends").code();
        assert_eq!(code, Some(1));

        let policy = world.learner(&["recommend", "-n", &namespace, "--cluster", "-o", "-"]);
        let applied = world.learner_as("admin", &["apply", "-"], &policy.out);
        assert_eq!(applied.code, 0, "{applied:?}");
        let said = diff(&[]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains(": same; "), "{said:?}");

        // Another's, of the whole cluster, and one that selects something else.
        let wide = json!({"matchDirectories": [{"dir": "/", "recursive": true}]});
        let of_cluster = json!({
            "apiVersion": "security.kubearmor.com/v1", "kind": "KubeArmorClusterPolicy",
            "metadata": {"name": format!("hardening-{namespace}")},
            "spec": {
                "selector": {"matchExpressions": [
                    {"key": "namespace", "operator": "In", "values": [namespace]},
                ]},
                "file": wide, "action": "Allow",
            },
        });
        let api = world.kubearmor("KubeArmorClusterPolicy", None);
        world.foreign(&api, "platform-team", &of_cluster).await;
        let other = json!({
            "apiVersion": "security.kubearmor.com/v1", "kind": "KubeArmorPolicy",
            "metadata": {"name": "of-others", "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": "other"}}, "file": wide, "action": "Allow"},
        });
        let api = world.kubearmor("KubeArmorPolicy", Some(&namespace));
        world.foreign(&api, "other-team", &other).await;
        let said = diff(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        let first = said.out.lines().next().unwrap_or_default();
        let opens = format!("RE-OPENED by hardening-{namespace}, which is from elsewhere: ");
        assert!(first.starts_with(&opens), "{said:?}");
        assert!(!said.out.contains("of-others"), "{said:?}");
        let said = diff(&["-f", "json"]);
        let value: Value = serde_json::from_str(&said.out).expect("JSON");
        let whose: Vec<_> = value["policies"]
            .as_array()
            .expect("policies")
            .iter()
            .map(|one| (&one["learned"], &one["managers"][0]["name"], one["changed"].is_string()))
            .collect();
        assert_eq!(
            whose,
            [
                (&json!(true), &json!("learner"), true),
                (&json!(false), &json!("platform-team"), true),
            ]
        );
    });
}
