//! A ledger that somebody else put there, or wrote to. Its content keeps nobody waiting, fills nobody's memory, and stops no
//! pass without need.

use crate::{
    audit::at_rest,
    sandbox::commission,
    world::{LONG_AGO, World, given},
};

fn with_history() -> World {
    let world = given([commission(1).approved(LONG_AGO)]);
    world.once().exits(0);
    world
}

#[test]
fn a_ledger_with_a_view_that_never_ends_is_refused() {
    let world = with_history();
    for view in ["attention", "owed", "last_pass"] {
        let text = world.query(&format!("SELECT sql FROM sqlite_schema WHERE name = '{view}'"))[0]["sql"]
            .as_str()
            .unwrap()
            .to_owned();
        world.forge(&format!(
            "DROP VIEW {view}; CREATE VIEW {view} AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS i FROM n"
        ));
        for args in [
            &["status", "--json"][..],
            &["plan", "--json"],
            &["once", "--json"],
            &["show", "1", "--json"],
            &["check", "--json"],
        ] {
            let ran = world.run(args).exits(1);
            assert!(ran.stdout.contains(&format!("another view \\\"{view}\\\"")), "{args:?}: {ran}");
        }
        world.forge(&format!("DROP VIEW {view}; {text}"));
    }
    assert_eq!(world.sandbox.merchant.requests(), 1);
    at_rest(&world, &[1]).exits(0);
}

#[test]
fn a_text_of_100_mb_is_not_read_into_memory() {
    let world = with_history();
    world.forge(
        "PRAGMA ignore_check_constraints = ON; UPDATE rewards SET last_error = CAST(zeroblob(100000000) AS TEXT)",
    );
    for args in [&["show", "1", "--json"][..], &["once", "--json", "--commission", "1"]] {
        let ran = world.run(args).exits(1);
        assert!(ran.stdout.contains("larger, or takes longer to read"), "{args:?}: {ran}");
    }
    assert_eq!(world.sandbox.merchant.requests(), 1);
}

/// Another program's text in the journal is for people. A pass does not depend on its form.
#[test]
fn an_empty_time_in_the_journal_stops_no_pass() {
    let world = with_history();
    world.forge(
        "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor) VALUES (1, '', 'fulfilled', 'delivered', 'x', 'x')",
    );
    world.once().exits(0);
    world.sandbox.firstpromoter.add(commission(2).approved(LONG_AGO));
    world.once().exits(0);
    assert_eq!(world.state_of(2), "fulfilled");
    world.run(&["status"]).exits(0);
}
