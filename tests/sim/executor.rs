//! Chooses the next step. Chance picks one of the tasks that can go on. When none can, time moves.
//!
//! At every `Pending` of a process it may die, and everybody else may act.

use std::{
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use makegood::domain::Timestamp;

use super::{
    fault::Fault,
    process::{Life, Process, live},
    timeline::{HOUR, Ms, later},
    world::World,
};

/// More turns than any world takes. A world that takes more is in an endless loop.
const TURNS_MAX: u64 = 2_000_000;

/// A task that advances in steps.
pub struct Task {
    /// None: a run of the webhook handler.
    process: Option<Rc<Process>>,
    future: Pin<Box<dyn Future<Output = ()>>>,
    alarm: Arc<Alarm>,
}

struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    pub fn spawn_handler(&self, future: impl Future<Output = ()> + 'static) {
        self.spawn(None, future);
    }

    /// Runs processes at the same time (one, unless the lock is ignored) until all of them have ended or died.
    pub fn run_processes(self: &Rc<Self>, lives: Vec<Life>) {
        let started = lives.into_iter().map(|life| self.start(life));
        let started: Vec<Rc<Process>> = started.collect();
        while started.iter().any(|process| !process.ended.get()) {
            assert!(self.turn(Timestamp::MAX_UTC), "a process waits for something that never happens");
        }
        self.let_go_of_the_lock();
    }

    /// Lets time pass without makegood.
    pub fn idle(self: &Rc<Self>, wait: Ms) {
        let until = later(self.now(), wait);
        while self.turn(until) {}
        self.time.jump(until);
    }

    fn start(self: &Rc<Self>, life: Life) -> Rc<Process> {
        let process = self.enter(|number| Process::new(number, &life));
        self.say(&process.name, || format!("starts: {:?}", life.fate));
        self.spawn(Some(Rc::clone(&process)), live(Rc::clone(self), Rc::clone(&process), life));
        process
    }

    fn spawn(&self, process: Option<Rc<Process>>, future: impl Future<Output = ()> + 'static) {
        let alarm = Arc::new(Alarm(AtomicBool::new(true)));
        self.tasks.borrow_mut().push(Task { process, future: Box::pin(future), alarm });
    }

    /// Makes one step of a task, or the next event that is due by `limit`. False where there is neither.
    fn turn(self: &Rc<Self>, limit: Timestamp) -> bool {
        assert!(self.count_turn() < TURNS_MAX, "this world does not come to an end");
        let awake = |(index, task): (usize, &Task)| task.alarm.0.load(Ordering::Relaxed).then_some(index);
        let awake: Vec<usize> = self.tasks.borrow().iter().enumerate().filter_map(awake).collect();
        if awake.is_empty() {
            let Some(happening) = self.time.next(limit) else { return false };
            happening(self);
        } else {
            self.step(*self.rng.pick(&awake));
        }
        true
    }

    fn step(self: &Rc<Self>, index: usize) {
        let mut task = self.tasks.borrow_mut().remove(index);
        task.alarm.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.alarm));
        let poll = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        match (&task.process, poll) {
            (None, Poll::Ready(())) => {}
            (None, Poll::Pending) => self.tasks.borrow_mut().insert(index, task),
            (Some(process), poll) => {
                let process = Rc::clone(process);
                if process.dies_here(self) || poll.is_ready() {
                    // Dropping the future is the crash: it closes the connection, and no code of the process runs any more.
                    drop(task);
                    process.ended.set(true);
                } else {
                    self.tasks.borrow_mut().insert(index, task);
                    self.meanwhile();
                }
            }
        }
    }

    /// The others act while a process waits.
    fn meanwhile(self: &Rc<Self>) {
        if self.weather.is_fair() {
            return;
        }
        if self.rng.chance(30) && self.strikes(Fault::Suspended) {
            let wait = self.rng.skewed(12 * HOUR);
            self.say("", || format!("the machine is suspended for {} s", wait / 1000));
            self.time.jump(later(self.now(), wait));
        }
        let waiting = self.time.handlers_waiting();
        if waiting > 0 && self.strikes(Fault::HandlerHurries) {
            self.time.hurry_handler(self.rng.below(waiting));
        }
        if self.rng.chance(self.restlessness) {
            self.people_act();
        }
        self.somebody_locks_the_ledger();
    }
}
