//! Many workloads at once.

use std::fs;
use std::process::Child;

use learner::kernel::cgroup::Group;
use learner::workload::RunKey;
use rustix::process::Signal;

use crate::world::{inside, read_below, wait_for, world};

#[test]
fn two_workloads_at_once_are_told_apart_and_nothing_is_lost() {
    let Some(world) = world("apart") else { return };
    let agent = world.agent("flush: 200ms");
    let groups = [world.group(), world.group()];
    let dirs = ["one", "two"].map(|name| {
        for n in 0..300 {
            world.file(&format!("{name}/f{n}"));
        }
        world.join(name)
    });
    let shared = world.file("shared");
    let running: Vec<Child> = groups
        .iter()
        .zip(&dirs)
        .map(|(group, dir)| {
            let (dir, shared) = (dir.display(), shared.display());
            let script =
                format!("for i in 1 2 3; do cat {dir}/* {shared} > /dev/null; sleep 0.1; done");
            inside(group.path(), &script).spawn().expect("a workload")
        })
        .collect();
    for mut child in running {
        assert!(child.wait().expect("ends").success());
    }
    wait_for("both runs to end", || {
        agent.log().matches("a run has ended").count() == 2
    });
    assert!(agent.stop().success());
    let runs = world.stored();
    assert_eq!(runs.len(), 2, "{runs:#?}");
    let names = groups
        .each_ref()
        .map(|g| g.path().file_name().expect("a name").to_owned());
    for ((own, other), name) in dirs.iter().zip(dirs.iter().rev()).zip(names) {
        let (key, run) = runs
            .iter()
            .find(|(key, _)| *key.workload.name == *name)
            .expect("a run of that name");
        assert_eq!(key.workload.kind, "Cgroup");
        assert!(!run.is_partial() && run.stop.is_some(), "{run:#?}");
        assert!(run.lost.is_empty(), "{:?}", run.lost);
        let read = read_below(run, own);
        assert_eq!(read.len(), 300);
        assert!(read.iter().all(|(_, count)| *count == 3), "{read:?}");
        assert_eq!(read_below(run, other), []);
        assert_eq!(read_below(run, &shared), [(shared.as_path(), 3)]);
        assert!(run.start < run.stop);
    }
}

#[test]
fn a_kill_loses_no_run_and_what_goes_on_is_a_late_run_afterwards() {
    let Some(world) = world("killed") else { return };
    let agent = world.agent("flush: 200ms");
    let group = world.group();
    let (before, after, go) = (world.file("before"), world.file("after"), world.join("go"));
    let script = format!(
        "cat {} > /dev/null; exec 5< {}; while [ ! -e {} ]; do sleep 0.05; done; cat {} > /dev/null",
        before.display(),
        before.display(),
        go.display(),
        after.display()
    );
    let mut child = inside(group.path(), &script).spawn().expect("a workload");
    wait_for("the run to be stored", || {
        let exported = world.says(&["export"]);
        String::from_utf8_lossy(&exported.stdout).contains(&*before.to_string_lossy())
    });
    agent.kill();
    let agent = world.agent("flush: 200ms");
    fs::write(&go, "").expect("a sign");
    assert!(child.wait().expect("ends").success());
    wait_for("the second run to end", || {
        agent.log().contains("a run has ended")
    });
    assert!(agent.stop().success());
    let runs = world.stored();
    let (late, whole): (Vec<_>, Vec<_>) = runs.iter().partition(|(_, run)| run.late);
    let ([(_, whole)], [(_, late)]) = (&whole[..], &late[..]) else {
        panic!("{runs:#?}");
    };
    assert!(whole.start.is_some() && whole.stop.is_none());
    assert!(!read_below(whole, &before).is_empty() && read_below(whole, &after).is_empty());
    assert!(late.start.is_none() && late.stop.is_some());
    assert!(!read_below(late, &after).is_empty());
    // What it held open when the agent came back.
    assert!(!read_below(late, &before).is_empty());
}

#[test]
fn the_next_run_in_the_same_cgroup_is_another_one() {
    let Some(world) = world("again") else { return };
    let agent = world.agent("");
    let group = world.group();
    for n in 1..=3 {
        let file = world.file(&format!("f{n}"));
        let script = format!("cat {} > /dev/null", file.display());
        let status = inside(group.path(), &script).status().expect("a workload");
        assert!(status.success());
        wait_for("the run to end", || {
            agent.log().matches("a run has ended").count() == n
        });
    }
    assert!(agent.stop().success());
    let runs = world.stored();
    assert_eq!(runs.len(), 3, "{runs:#?}");
    for (_, run) in &runs {
        assert!(!run.is_partial() && run.stop.is_some(), "{run:#?}");
        assert_eq!(read_below(run, &world.path()).len(), 1);
    }
}

#[test]
fn two_hundred_cgroups_are_watched_each_by_itself() {
    let Some(world) = world("crowd") else { return };
    // Room for all of it, however long the agent has to wait for its turn.
    let agent = world.agent("flush: 1s\nring_buffer: 67108864");
    let groups: Vec<_> = (0..200).map(|_| world.group()).collect();
    let last = world.group();
    agent.watches(&last);
    let running: Vec<Child> = groups
        .iter()
        .enumerate()
        .map(|(n, group)| {
            let file = world.file(&format!("f{n}"));
            let script = format!("cat {} > /dev/null", file.display());
            inside(group.path(), &script).spawn().expect("a workload")
        })
        .collect();
    for mut child in running {
        assert!(child.wait().expect("ends").success());
    }
    wait_for("all runs to end", || {
        let all = agent.log().matches("a run has ended").count();
        all - agent.ends(&last).len() == 200
    });
    assert!(agent.stop().success());
    let last = last.path().file_name().expect("a name").to_owned();
    drop(groups);
    let mut runs = world.stored();
    runs.retain(|(key, _)| *key.workload.name != *last);
    assert_eq!(runs.len(), 200);
    for (key, run) in &runs {
        assert!(!run.is_partial(), "{key:?}: {run:#?}");
        assert_eq!(read_below(run, &world.path()).len(), 1, "{key:?}: {run:#?}");
    }
}

#[test]
fn a_run_whose_beginning_was_lost_is_told_with_its_loss() {
    let Some(world) = world("flood") else { return };
    let agent = world.agent("ring_buffer: 65536");
    let groups = [world.group(), world.group()];
    for n in 0..1000 {
        world.file(&format!("many/f{n}"));
    }
    let reads = format!("cat {}/* > /dev/null", world.join("many").display());
    let run = |group: &Group, script: &str| {
        let status = inside(group.path(), script).status().expect("a workload");
        assert!(status.success());
    };
    agent.watches(&groups[1]);
    // Stopped, it takes nothing out of the ring, and the first fills it.
    agent.signal(Signal::STOP);
    run(&groups[0], &reads);
    run(&groups[1], "true");
    agent.signal(Signal::CONT);
    let has_lossy = |group| {
        let ends = agent.ends(group);
        ends.iter().any(|end| !end.contains("lost=0 "))
    };
    wait_for("the runs to end", || groups.iter().all(has_lossy));
    assert!(agent.stop().success());
    let runs = world.stored();
    let (lossy, whole): (Vec<_>, Vec<_>) = runs.iter().partition(|(_, run)| run.lost_total() > 0);
    assert_eq!(lossy.len(), 2, "{runs:#?}");
    assert!(whole.iter().all(|(_, run)| !run.is_partial()), "{whole:#?}");
    assert!(lossy.iter().all(|(_, run)| run.is_partial()));
    let second = |key: &RunKey| groups[1].path().ends_with(&*key.workload.name);
    let (_, without_beginning) = lossy.iter().find(|(key, _)| second(key)).expect("told");
    assert!(without_beginning.late && without_beginning.start.is_none());
}

#[test]
fn what_ran_before_its_cgroup_was_watched_is_warned_of() {
    let Some(world) = world("quick") else { return };
    let agent = world.agent("");
    agent.signal(Signal::STOP);
    let group = world.group();
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
    let status = inside(group.path(), script).status().expect("a workload");
    assert!(status.success());
    agent.signal(Signal::CONT);
    wait_for("the warning", || {
        agent
            .log()
            .contains("before it was watched, and nothing was seen")
    });
    assert!(agent.stop().success());
    assert_eq!(world.stored().len(), 0);
}

#[test]
fn cgroups_that_vanish_are_no_runs_and_no_harm() {
    let Some(world) = world("vanish") else { return };
    let mut agent = world.agent("rescan: 100ms");
    for _ in 0..100 {
        drop(world.group());
    }
    let group = world.group();
    // What ends before its new cgroup was noticed leaves no run.
    wait_for("a run to end", || {
        let ran = inside(group.path(), "true").status().expect("a workload");
        assert!(ran.success());
        agent.log().contains("a run has ended")
    });
    assert!(agent.is_there());
    assert!(agent.stop().success());
    assert!(!world.stored().is_empty());
}

#[test]
fn a_run_that_goes_on_is_stored_at_the_end_of_the_agent() {
    let Some(world) = world("cut") else { return };
    let agent = world.agent("flush: 1h");
    let group = world.group();
    let file = world.file("read");
    let script = format!("cat {} > /dev/null; exec sleep 1000", file.display());
    let mut child = inside(group.path(), &script).spawn().expect("a workload");
    wait_for("the run", || agent.log().contains("a run is watched"));
    wait_for("sleep", || {
        fs::read_to_string(format!("/proc/{}/comm", child.id())).is_ok_and(|comm| comm == "sleep\n")
    });
    agent.signal(Signal::TERM);
    assert!(agent.stop().success());
    child.kill().expect("killed");
    child.wait().expect("gone");
    let runs = world.stored();
    let [(_, run)] = &runs[..] else {
        panic!("{runs:#?}")
    };
    assert!(run.start.is_some() && run.stop.is_none() && !run.late);
    assert_eq!(read_below(run, &file).len(), 1);
}
