//! What many nodes cost a cluster. See docs/cluster.md, "What 1,000 nodes cost".
//!
//!     cargo run --release -p learner --example cluster_cost -- pace 1000 100 72
//!     cargo run --release -p learner --example cluster_cost -- write 100 100 20
//!     cargo run --release -p learner --example cluster_cost -- again 100 100 20 100
//!
//! `pace NODES WORKLOADS HOURS` lets so many nodes with so many workloads each write by the rules that agents write by,
//! in simulated time and to nobody, and prints how many objects a second that is: all agents begin at once, and
//! every container is restarted once a day, at any time of it.
//!
//! `write NODES WORKLOADS NAMESPACES` writes what they have seen to the API server of KUBECONFIG, 16 requests at a time,
//! and prints how many a second it took and how long the objects are. Each workload is one that all nodes run, has 10 runs
//! a node, and 100 acts. The namespaces are `cost-0`, …, and the nodes are there, with KubeArmor on each. Learner's
//! definitions and KubeArmor's are made too, if they are not there; KubeArmor's take anything.
//!
//! `again NODES WORKLOADS NAMESPACES EVERY` writes what every so-many-th of these objects says once each has one more run,
//! that has just begun. With NODES for EVERY that is one node of each workload: enough for a promotion to block.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::error::Error;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, PostParams};
use kube::core::GroupVersionKind;
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::cluster::nodes::ENFORCER;
use learner::cluster::{Client, Holding, Objects, Pace, Schedule, Writer, connect, pieces};
use learner::digest::Digest;
use learner::observation::Moment;
use learner::path::AbsPath;
use learner::posture::Revision;
use learner::profile::{RunProfile, Sighting};
use learner::shared::Part;
use learner::workload::{RunKey, Workload};
use serde_json::json;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const AT_A_TIME: usize = 16;
const PAUSE: Duration = Duration::from_secs(1);

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Done {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize| -> Done<usize> { Ok(args.get(at).ok_or("a number is missing")?.parse()?) };
    match args.first().map(String::as_str) {
        Some("pace") => pace(number(1)?, number(2)?, number(3)?),
        Some("write") => block_on(async {
            let client = connect().await?;
            define(&client).await?;
            make(&client, number(1)?, number(3)?).await?;
            write(&client, number(1)?, number(2)?, number(3)?, None).await
        }),
        Some("again") => block_on(async {
            let every = Some(number(4)?);
            write(&connect().await?, number(1)?, number(2)?, number(3)?, every).await
        }),
        _ => Err("pace NODES WORKLOADS HOURS, write NODES WORKLOADS NAMESPACES, or again NODES WORKLOADS NAMESPACES EVERY".into()),
    }
}

fn block_on(work: impl Future<Output = Done>) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

fn revision(namespace: &str, number: usize) -> Revision {
    Revision {
        workload: Workload {
            namespace: namespace.to_owned(),
            kind: "DaemonSet".to_owned(),
            name: format!("app-{number}"),
            container: "main".to_owned(),
        },
        image: format!("registry.example.org/app-{number}:1@sha256:{number:064x}"),
    }
}

/// Some number that is always the same for a node and a workload.
fn any(node: usize, workload: usize, most: i64) -> i64 {
    let hash = Digest::of(format!("{node}/{workload}").as_bytes()).words()[1];
    (hash % most.unsigned_abs()) as i64
}

fn pace(nodes: usize, workloads: usize, hours: usize) -> Done {
    let revisions: Vec<Revision> = (0..workloads).map(|n| revision("shop", n)).collect();
    let end = i64::try_from(hours)? * HOUR;
    let mut schedules: Vec<Schedule<usize>> = (0..nodes)
        .map(|number| Schedule::new(&format!("node-{number}"), Pace::default()))
        .collect();
    // What changes, and when: (time, node, workload).
    let mut changes = BinaryHeap::new();
    for node in 0..nodes {
        for workload in 0..workloads {
            changes.push(Reverse((0, node, workload)));
        }
    }
    // When a node has something to write: (time, node).
    let mut due: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
    let mut by_minute: BTreeMap<i64, u64> = BTreeMap::new();
    let nothing = Part::default();
    // What an object says: the run that goes on, and that it is alive; and when the next run begins.
    let content = |node: usize, workload: usize, now: i64| -> Done<(Digest, i64)> {
        let restart = any(node, workload, 24 * HOUR);
        let run = (now - restart).div_euclid(24 * HOUR);
        let alive = Objects::of(
            &revisions[workload],
            &format!("node-{node}"),
            Moment(now),
            &nothing,
            &Holding::default(),
        )?;
        let digest = Digest::of(format!("{run} {}", alive.content()).as_bytes());
        Ok((digest, restart + (run + 1) * 24 * HOUR))
    };
    while let Some(now) = changes
        .peek()
        .map(|Reverse((at, ..))| *at)
        .into_iter()
        .chain(due.peek().map(|Reverse((at, _))| *at))
        .min()
        .filter(|now| *now < end)
    {
        while let Some(Reverse((_, node, workload))) = changes
            .peek()
            .copied()
            .filter(|Reverse((at, ..))| *at <= now)
        {
            changes.pop();
            let schedule = &mut schedules[node];
            let (content, restarts) = content(node, workload, now)?;
            schedule.offer(&workload, content, Moment(now));
            if let Some(at) = schedule.next() {
                due.push(Reverse((at.0, node)));
            }
            // The next time that there may be something: a restart, or another day of being alive, which is looked
            // for once an hour.
            let next = restarts.min(now + HOUR);
            changes.push(Reverse((next, node, workload)));
        }
        while let Some(Reverse((_, node))) =
            due.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            due.pop();
            let schedule = &mut schedules[node];
            for workload in schedule.due(Moment(now)) {
                let (content, _) = content(node, workload, now)?;
                schedule.wrote(&workload, content, Moment(now));
                *by_minute.entry(now.div_euclid(60 * SECOND)).or_default() += 1;
            }
            if let Some(at) = schedule.next() {
                due.push(Reverse((at.0.max(now + 1), node)));
            }
        }
    }
    let share = |from: i64, to: i64| -> (f64, f64) {
        let counts: Vec<u64> = (from..to)
            .map(|minute| by_minute.get(&minute).copied().unwrap_or(0))
            .collect();
        let mean = counts.iter().sum::<u64>() as f64 / (counts.len().max(1) as f64 * 60.0);
        let most = counts.iter().max().copied().unwrap_or(0) as f64 / 60.0;
        (mean, most)
    };
    let print = |what: &str, (mean, most): (f64, f64)| {
        println!("{what}: {mean:.2} objects a second, {most:.2} in the busiest minute");
    };
    print("the first 10 minutes", share(0, 10));
    print("the first hour after them", share(10, 70));
    print(
        "from the second day on",
        share(24 * 60, i64::try_from(hours)? * 60),
    );
    Ok(())
}

fn done(op: Op, path: &str, source: &str) -> Behavior {
    Behavior {
        op,
        path: AbsPath::try_from(path).unwrap_or_else(|_| unreachable!("{path} is absolute")),
        source: AbsPath::try_from(source).ok(),
        uid: Some(0),
        owner: Some(true),
        upper: Some(false),
        tty: Some(false),
        result: Outcome::Ok,
    }
}

/// 10 runs with 100 acts each; each run has left some out. And one that begins now, if it is told when that is.
fn part(revision: &Revision, node: usize, workload: usize, now: Option<Moment>) -> Part {
    let long_ago = (0..10).map(|run| (run, Moment(1_700_000_000 * SECOND + run * HOUR)));
    let runs: BTreeMap<RunKey, RunProfile> = long_ago
        .chain(now.map(|now| (10, now)))
        .map(|(run, began)| {
            let mut profile = RunProfile {
                labels: [("app".to_owned(), revision.workload.name.clone())].into(),
                start: Some(began),
                stop: (run < 10).then_some(Moment(began.0 + HOUR / 2)),
                ..RunProfile::default()
            };
            let exec = done(Op::Exec, "/usr/bin/app", "/usr/bin/containerd-shim");
            let reads = (0..100)
                .filter(|act| any(node + act, workload + run as usize, 20) != 0)
                .map(|act| {
                    let path = format!("/usr/lib/app-{workload}/module-{}/part.so", words(act));
                    done(Op::Open(Access::Read), &path, "/usr/bin/app")
                });
            for behavior in [exec].into_iter().chain(reads) {
                let seen = Sighting {
                    count: 3,
                    first: began,
                    last: Moment(began.0 + if run < 10 { HOUR / 4 } else { 0 }),
                };
                profile.seen.insert(behavior, seen);
            }
            let key = RunKey {
                workload: revision.workload.clone(),
                image: revision.image.clone(),
                run: format!("{:012x}-{run}", any(node, workload, i64::MAX >> 16)),
            };
            (key, profile)
        })
        .collect();
    Part::of(&runs)
}

/// A name that is no class of names.
fn words(number: usize) -> String {
    const SYLLABLES: [&str; 10] = ["ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru"];
    format!("{}{}", SYLLABLES[number / 10 % 10], SYLLABLES[number % 10])
}

/// Learner's resources, and KubeArmor's.
async fn define(client: &Client) -> Done {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
    ));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let ours = learner::cluster::crds().into_iter();
    let ours = ours.map(|(_, definition)| serde_yaml::from_str(&definition));
    let kubearmors = [
        ("KubeArmorPolicy", "kubearmorpolicies", "Namespaced"),
        (
            "KubeArmorClusterPolicy",
            "kubearmorclusterpolicies",
            "Cluster",
        ),
    ];
    let kubearmors = kubearmors.map(|(kind, plural, scope)| {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = json!({
            "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": anything},
        });
        let names = json!({"kind": kind, "plural": plural, "singular": kind.to_lowercase()});
        let group = "security.kubearmor.com";
        serde_yaml::from_value(serde_yaml::to_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "names": names, "scope": scope, "versions": [version]},
        }))?)
    });
    for definition in ours.chain(kubearmors) {
        made(api.create(&PostParams::default(), &definition?).await)?;
    }
    // They are served a moment later.
    tokio::time::sleep(Duration::from_secs(10)).await;
    Ok(())
}

/// The namespaces and the nodes.
async fn make(client: &Client, nodes: usize, namespaces: usize) -> Done {
    let named = |name: String, label: Option<(&str, &str)>| ObjectMeta {
        name: Some(name),
        labels: label.map(|(key, value)| [(key.to_owned(), value.to_owned())].into()),
        ..ObjectMeta::default()
    };
    let api: Api<Namespace> = Api::all(client.clone());
    for number in 0..namespaces {
        let namespace = Namespace {
            metadata: named(format!("cost-{number}"), None),
            ..Namespace::default()
        };
        made(api.create(&PostParams::default(), &namespace).await)?;
    }
    let api: Api<Node> = Api::all(client.clone());
    for number in 0..nodes {
        let node = Node {
            metadata: named(format!("node-{number}"), Some((ENFORCER, "bpf"))),
            ..Node::default()
        };
        made(api.create(&PostParams::default(), &node).await)?;
    }
    Ok(())
}

/// It may be there already.
fn made<K>(created: kube::Result<K>) -> kube::Result<()> {
    match created {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => created.map(drop),
    }
}

/// `every`: of so many one, with one run more.
async fn write(
    client: &Client,
    nodes: usize,
    workloads: usize,
    namespaces: usize,
    every: Option<usize>,
) -> Done {
    let begun = Instant::now();
    let all = (0..workloads).flat_map(|workload| (0..nodes).map(move |node| (node, workload)));
    let all = all.step_by(every.unwrap_or(1));
    let sizes: Vec<(usize, usize)> = stream::iter(all)
        .map(|(node, workload)| {
            let client = client.clone();
            async move {
                let name = format!("node-{node}");
                let revision = revision(&format!("cost-{}", workload % namespaces), workload);
                let at = Moment(now());
                let part = part(&revision, node, workload, every.map(|_| at));
                let bytes: usize = pieces(&revision, &name, at, &part)?
                    .iter()
                    .map(|object| serde_json::to_vec(object).map_or(0, |text| text.len()))
                    .sum();
                let writer = Writer::new(client, &name);
                let written = loop {
                    match writer.write(&revision, at, &part).await {
                        // As an agent does, which waits longer.
                        Err(error) if error.passes() => tokio::time::sleep(PAUSE).await,
                        written => break written?,
                    }
                };
                Ok::<_, Box<dyn Error>>((written.applied, bytes))
            }
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    let took: Duration = begun.elapsed();
    let (objects, bytes) = sizes
        .iter()
        .fold((0, 0), |(o, b), (objects, bytes)| (o + objects, b + bytes));
    println!(
        "{objects} objects in {:.0} s, {:.0} a second; {} bytes each",
        took.as_secs_f64(),
        objects as f64 / took.as_secs_f64(),
        bytes / objects.max(1)
    );
    Ok(())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
