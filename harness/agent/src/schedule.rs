//! When a thread of the agent runs, among all else that the machine runs.

/// Lets nothing of the machine run before what this thread does; what it starts is not so favoured.
pub(crate) fn before_all_others() {
    set(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 50);
}

/// As any program is.
pub(crate) fn as_usual() {
    set(libc::SCHED_OTHER, 0);
}

fn set(policy: libc::c_int, priority: libc::c_int) {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: reads one structure; 0 means this thread. A kernel that refuses is only slower.
    unsafe { libc::sched_setscheduler(0, policy, &parameters) };
}
