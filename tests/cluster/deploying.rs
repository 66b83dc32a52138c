//! What is shipped in `deploy/`.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use learner::agent::config::Config;
use serde::Deserialize as _;
use serde_json::Value;

use crate::agent::{made, until_told};
use crate::node::{Container, Driver, Node, alone};
use crate::pods::Made;
use crate::promoting::{Shop, THREE};
use crate::world::{Connected, bare};

const SHIPPED: &str = include_str!("../../deploy/learner.yaml");
const TABLE: &str = include_str!("../../docs/cluster.md");

/// Verbs by resource, with its group behind the dot.
type Rights = BTreeMap<String, BTreeSet<String>>;

fn objects() -> Vec<Value> {
    serde_yaml::Deserializer::from_str(SHIPPED)
        .map(|one| Value::deserialize(one).expect("an object"))
        .collect()
}

fn one(kind: &str, name: &str) -> Value {
    let mut all = objects().into_iter();
    let found = all.find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let all = value.as_array().expect("a list").iter();
    all.map(|one| one.as_str().expect("text"))
}

/// What a ClusterRole that is shipped gives.
fn given(role: &str) -> Rights {
    let role = one("ClusterRole", role);
    let mut rights = Rights::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let name = format!("{resource}.{group}");
                let verbs = rights.entry(name.trim_end_matches('.').to_owned());
                verbs
                    .or_default()
                    .extend(texts(&rule["verbs"]).map(str::to_owned));
            }
        }
    }
    rights
}

/// What the table of docs/cluster.md has for one of them.
fn documented(who: &str) -> Rights {
    let mut rights = Rights::new();
    let rows = TABLE.lines().filter(|line| line.starts_with("| "));
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, verbs, resources, whose, _, _, _] = cells[..] else {
            continue;
        };
        if whose.split(", ").any(|one| one == who) {
            for resource in resources.split(", ") {
                let resource = resource.trim_matches('`').to_owned();
                let known = rights.entry(resource).or_default();
                known.extend(verbs.split(", ").map(str::to_owned));
            }
        }
    }
    rights
}

/// The limited one may do what the role gives.
async fn allow(world: &Connected, role: &str) {
    allow_but(world, role, None).await;
}

/// The same without one right: a verb, and the resource with its group.
pub(crate) async fn allow_but(world: &Connected, role: &str, missing: Option<(&str, &str)>) {
    let mut rights = given(role);
    if let Some((verb, resource)) = missing {
        let verbs = rights.get_mut(resource).expect("a resource of the role");
        assert!(verbs.remove(verb), "{verb} {resource} is not given");
    }
    let verbs: Vec<(Vec<&str>, &str)> = rights
        .iter()
        .map(|(of, verbs)| (verbs.iter().map(String::as_str).collect(), of.as_str()))
        .collect();
    let given: Vec<(&[&str], &str)> = verbs.iter().map(|(verbs, of)| (&verbs[..], *of)).collect();
    world.allow(&given).await;
}

#[test]
fn the_roles_give_what_the_table_says_and_no_more() {
    assert_eq!(given("learner-agent"), documented("agent"));
    assert_eq!(given("learner-promote"), documented("job"));
}

#[test]
fn the_agents_understand_the_configuration_that_they_are_given() {
    let map = one("ConfigMap", "learner-agent");
    let text = map["data"]["agent.yaml"].as_str().expect("a text");
    let config = Config::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let node = config.cluster.expect("a node of a cluster");
    assert_eq!(node.leave_out, ["kube-system", "kubearmor", "learner"]);
    assert!(!config.enforce);
}

/// Fields and versions that this server is too old for are taken out or put back, and nothing else.
fn fit(object: &mut Value, minor: u32) {
    if minor < 21 && object["kind"] == "CronJob" {
        object["apiVersion"] = "batch/v1beta1".into();
    }
    if minor < 30
        && let Some(all) = object.pointer_mut("/spec/template/spec/containers")
    {
        for container in all.as_array_mut().expect("a list") {
            let context = container["securityContext"].as_object_mut();
            context.expect("a context").remove("appArmorProfile");
        }
    }
}

#[test]
fn everything_that_is_shipped_is_taken_by_the_api_server() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let version = world.admin().apiserver_version().await.expect("a version");
        let minor = version.minor.trim_end_matches('+').parse();
        let minor = minor.expect("a number");
        // By server-side apply: a field that is not known is refused.
        let how = PatchParams::apply("test");
        for mut object in objects() {
            fit(&mut object, minor);
            let object: DynamicObject = serde_json::from_value(object).expect("an object");
            let name = object.name_any();
            let types = object.types.clone().expect("a kind");
            let kind = GroupVersionKind::try_from(types).expect("a kind");
            let found = pinned_kind(&world.admin(), &kind).await;
            let (resource, of) = found.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            let api: Api<DynamicObject> = match (of.scope, object.namespace()) {
                (Scope::Cluster, None) => Api::all_with(world.admin(), &resource),
                (Scope::Namespaced, Some(namespace)) => {
                    Api::namespaced_with(world.admin(), &namespace, &resource)
                }
                (_, namespace) => panic!("{} {name}: in {namespace:?}", kind.kind),
            };
            let patch = Patch::Apply(&object);
            for how in [how.clone().dry_run(), how.clone()] {
                let taken = api.patch(&name, &how, &patch).await;
                taken.unwrap_or_else(|error| panic!("{} {name}: {error}", kind.kind));
            }
        }
    });
}

#[test]
fn an_agent_does_its_work_with_the_role_that_it_is_given() {
    let (Some(world), Some(_alone)) = (bare(), alone()) else {
        return;
    };
    world.run(async |world| {
        world.define().await;
        allow(world, "learner-agent").await;
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "limited", "shipped");
        let agent = node.agent(", keep: 3s");
        let files = [node.file("old"), node.file("new")];
        for (file, image) in files.iter().zip(["web:1", "web:2"]) {
            let container = Container::new(Driver::Systemd);
            let web = Made {
                image: image.to_owned(),
                ..Made::of_deployment(&node.name, "web", &container.id)
            };
            made(world, &namespace, &image.replace(':', "-"), web).await;
            container.reads(&[file]);
            until_told(world, &namespace, file, &agent).await;
        }
        // What it has told of the first image is deleted.
        agent.says("nobody runs it any more");
        assert!(!agent.log().contains("not allowed"), "{}", agent.log());
        assert!(agent.stop().success());
    });
}

#[test]
fn the_job_does_its_work_with_the_role_that_it_is_given() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        world.define_kubearmor().await;
        let shop = Shop::new(world, THREE).await;
        for app in THREE {
            shop.seen(app, "i:1", false, &[]).await;
        }
        allow(world, "learner-promote").await;
        let cron = one("CronJob", "learner-promote");
        let pod = &cron["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        // As it is shipped, but that it need not wait for a day.
        let args: Vec<&str> = texts(&pod["containers"][0]["args"])
            .map(|arg| match arg.starts_with("--window=") {
                true => "--window=0s",
                false => arg,
            })
            .collect();
        let passes = |has: &str| {
            let said = world.learner_as("limited", &args, "");
            assert_eq!(said.code, 0, "{said:?}");
            assert!(said.out.contains(has), "{has}: {said:?}");
        };
        passes("web/web: promoted: learning -> audit");
        shop.seen("web", "i:1", true, &[]).await;
        passes("web/web: promoted: audit -> block");
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
        shop.seen("web", "i:2", true, &[]).await;
        passes("web/web: put to audit with a new image");
        assert_eq!(shop.policies().await, [""; 0]);
        assert_eq!(shop.posture().await, None);
    });
}
