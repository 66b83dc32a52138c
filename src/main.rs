mod launch;
use learner::kernel::*; use learner::session::*;
fn main() {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if args[1] == "__launch" { let e = launch::run(0o22, &args[2..]); println!("{e:?}"); std::process::exit(127); }
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let rung = std::env::var("RUNG").ok().map(|r| match r.as_str() {"lsm"=>Rung::Lsm,"fentry"=>Rung::Fentry,_=>Rung::Tracepoint});
    let plan = Plan { subject: Subject::Command { launcher: vec![std::env::current_exe().unwrap().into(), "__launch".into()], argv: args[1..].to_vec() }, limit: None, settings: Settings{rung, ..Default::default()}, max_behaviors: 100000 };
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match rt.block_on(watch(plan)) { Ok(w) => { for (b, s) in &w.profile.seen { println!("{} {} {} {:?} {:?} n={}", b, b.result.as_str(), b.op.access().map(|a| a.as_str()).unwrap_or(""), b.owner, b.upper, s.count); } println!("lost {:?} status {:?} cut {}", w.profile.lost, w.status, w.cut_short); }, Err(e) => println!("ERR {e}") }
}
