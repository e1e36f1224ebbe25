//! Cleans every value of an entry or a span at the last moment before it is formatted, also for the journal, which gets fields
//! and not lines.
//!
//! Guarantees: the layer inside sees the same fields in the same order, and numbers as numbers. Text comes without secrets, and
//! without characters that a terminal or an editor would obey ([`foreign`]).

use std::{error::Error, fmt::Debug};

use tracing::{
    Event, Metadata, Subscriber,
    field::{DisplayValue, Field, Value, Visit, display},
    span,
    subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::foreign;

/// More fields than these are left out; none of our entries has as many.
const FIELDS_MAX: usize = 32;

/// Wraps a layer that writes.
pub(super) struct Clean<L>(pub(super) L);

/// The values of one entry.
#[derive(Default)]
struct Values(Vec<(Field, Kept)>);

enum Kept {
    /// As `%` and `?` write it.
    Written(DisplayValue<String>),
    Text(String),
    Other(Box<dyn Value + Send>),
}

fn cleaned(text: &str) -> String {
    foreign::line(&foreign::redact(text))
}

impl Values {
    fn keep(&mut self, field: &Field, value: Kept) {
        if self.0.len() < FIELDS_MAX {
            self.0.push((field.clone(), value));
        }
    }

    /// Passes the fields on in tracing's form. The unused places have fields without a value, which print nothing.
    fn with<T>(
        &self,
        metadata: &'static Metadata<'static>,
        work: impl FnOnce(&tracing::field::ValueSet<'_>) -> T,
    ) -> Option<T> {
        let (first, _) = self.0.first()?;
        let mut all: [(&Field, Option<&dyn Value>); FIELDS_MAX] = [(first, None); FIELDS_MAX];
        for (slot, (field, kept)) in all.iter_mut().zip(&self.0) {
            let value: &dyn Value = match kept {
                Kept::Written(text) => text,
                Kept::Text(text) => text,
                Kept::Other(value) => value.as_ref(),
            };
            *slot = (field, Some(value));
        }
        Some(work(&metadata.fields().value_set(&all)))
    }
}

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.keep(field, Kept::Written(display(cleaned(&format!("{value:?}")))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, Kept::Text(cleaned(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.keep(field, Kept::Written(display(cleaned(&crate::reconcile::in_full(value)))));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, Kept::Other(Box::new(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, Kept::Other(Box::new(value)));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.keep(field, Kept::Other(Box::new(value)));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.keep(field, Kept::Other(Box::new(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, Kept::Other(Box::new(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, Kept::Other(Box::new(value)));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, L: Layer<S>> Layer<S> for Clean<L> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.0.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, cx: Context<'_, S>) -> bool {
        self.0.enabled(metadata, cx)
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let mut values = Values::default();
        attributes.record(&mut values);
        let metadata = attributes.metadata();
        let clean = values.with(metadata, |values| {
            let clean = match attributes.parent() {
                Some(parent) => span::Attributes::child_of(parent.clone(), metadata, values),
                None if attributes.is_root() => span::Attributes::new_root(metadata, values),
                None => span::Attributes::new(metadata, values),
            };
            self.0.on_new_span(&clean, id, cx.clone());
        });
        if clean.is_none() {
            self.0.on_new_span(attributes, id, cx);
        }
    }

    fn on_record(&self, id: &span::Id, record: &span::Record<'_>, cx: Context<'_, S>) {
        let mut values = Values::default();
        record.record(&mut values);
        let Some(metadata) = cx.metadata(id) else { return };
        let _nothing_was_recorded =
            values.with(metadata, |values| self.0.on_record(id, &span::Record::new(values), cx.clone()));
    }

    fn on_follows_from(&self, id: &span::Id, follows: &span::Id, cx: Context<'_, S>) {
        self.0.on_follows_from(id, follows, cx);
    }

    fn event_enabled(&self, event: &Event<'_>, cx: Context<'_, S>) -> bool {
        self.0.event_enabled(event, cx)
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let metadata = event.metadata();
        let clean = values.with(metadata, |values| {
            let clean = match event.parent() {
                Some(parent) => Event::new_child_of(parent.clone(), metadata, values),
                None if event.is_root() => Event::new_child_of(None, metadata, values),
                None => Event::new(metadata, values),
            };
            self.0.on_event(&clean, cx.clone());
        });
        if clean.is_none() {
            self.0.on_event(event, cx);
        }
    }

    fn on_enter(&self, id: &span::Id, cx: Context<'_, S>) {
        self.0.on_enter(id, cx);
    }

    fn on_exit(&self, id: &span::Id, cx: Context<'_, S>) {
        self.0.on_exit(id, cx);
    }

    fn on_close(&self, id: span::Id, cx: Context<'_, S>) {
        self.0.on_close(id, cx);
    }

    fn on_id_change(&self, old: &span::Id, new: &span::Id, cx: Context<'_, S>) {
        self.0.on_id_change(old, new, cx);
    }
}
