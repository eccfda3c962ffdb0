//! TensorBoard's messages in protobuf's wire format, written by hand: there are few of them.
//!
//! In: scalars, images, hyperparameters. Out: the bytes of an `Event`. Numbers are those of the
//! fields in TensorFlow's `event.proto` and `summary.proto`, and in the `plugin_data.proto` and
//! `api.proto` of TensorBoard's plugin "hparams".

/// A message under way.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn whole(mut self, field: u64, value: u64) -> Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Bytes, a text, or a message in this one.
    fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Something at a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A number.
    Scalar(f32),
    /// A PNG file, with its width and height.
    Png(Vec<u8>, [u32; 2]),
}

/// A hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Setting {
    Number(f64),
    Text(String),
    Flag(bool),
}

/// The first event of a file.
pub(super) fn version(wall_time: f64) -> Vec<u8> {
    Message::default().double(1, wall_time).bytes(3, "brain.Event:2").0
}

/// Values by their tags at a step.
pub(super) fn summary(wall_time: f64, step: u64, values: &[(String, Value)]) -> Vec<u8> {
    let summary = values.iter().fold(Message::default(), |summary, (tag, value)| {
        let tagged = Message::default().bytes(1, tag);
        summary.bytes(
            1,
            match value {
                Value::Scalar(value) => tagged.float(2, *value),
                Value::Png(png, [width, height]) => {
                    let image = Message::default().whole(1, (*height).into()).whole(2, (*width).into());
                    // Three channels.
                    tagged.bytes(4, image.whole(3, 3).bytes(4, png))
                }
            },
        )
    });
    event(wall_time, step, &summary)
}

/// The settings of a run that begins at `wall_time`.
pub(super) fn session_start(wall_time: f64, settings: &[(String, Setting)]) -> Vec<u8> {
    let start = settings.iter().fold(Message::default(), |start, (name, setting)| {
        let value = match setting {
            Setting::Number(number) => Message::default().double(2, *number),
            Setting::Text(text) => Message::default().bytes(3, text),
            Setting::Flag(flag) => Message::default().whole(4, u64::from(*flag)),
        };
        start.bytes(1, Message::default().bytes(1, name).bytes(2, value))
    });
    hparams(wall_time, "_hparams_/session_start_info", 3, &start.double(5, wall_time))
}

/// A run's end, as a success.
pub(super) fn session_end(wall_time: f64) -> Vec<u8> {
    hparams(wall_time, "_hparams_/session_end_info", 4, &Message::default().whole(1, 1).double(2, wall_time))
}

/// What the plugin "hparams" reads: a value that has metadata only.
fn hparams(wall_time: f64, tag: &str, field: u64, content: &Message) -> Vec<u8> {
    let data = Message::default().bytes(field, content);
    let plugin = Message::default().bytes(1, "hparams").bytes(2, data);
    let value = Message::default().bytes(1, tag).bytes(9, Message::default().bytes(1, plugin));
    event(wall_time, 0, &Message::default().bytes(1, value))
}

fn event(wall_time: f64, step: u64, summary: &Message) -> Vec<u8> {
    Message::default().double(1, wall_time).whole(2, step).bytes(5, summary).0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"\x09\0\0\0\0\0\0\xf0\x3f";

    #[test]
    fn events_are_byte_for_byte_what_protobuf_writes() {
        assert_eq!(version(1.0), [ONE, b"\x1a\x0dbrain.Event:2"].concat());
        // Step 300 takes two bytes.
        let loss = summary(1.0, 300, &[("loss".into(), Value::Scalar(0.5))]);
        assert_eq!(loss, [ONE, b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f"].concat());
        let image = summary(1.0, 0, &[("a/0".into(), Value::Png(b"PNG".to_vec(), [64, 32]))]);
        assert_eq!(
            image,
            [ONE, b"\x10\0\x2a\x14\x0a\x12\x0a\x03a/0\x22\x0b\x08\x20\x10\x40\x18\x03\x22\x03PNG"].concat()
        );
    }

    #[test]
    fn settings_are_values_of_their_types() {
        let settings = [
            ("n".into(), Setting::Number(1.0)),
            ("t".into(), Setting::Text("x".into())),
            ("f".into(), Setting::Flag(true)),
        ];
        let start = session_start(1.0, &settings);
        let number = [b"\x0a\x0e\x0a\x01n\x12\x09\x11", &ONE[1..]].concat();
        let session =
            [&number, &b"\x0a\x08\x0a\x01t\x12\x03\x1a\x01x"[..], b"\x0a\x07\x0a\x01f\x12\x02\x20\x01\x29", &ONE[1..]];
        let session = session.concat();
        assert_eq!(session.len(), 44);
        let head = [
            ONE,
            b"\x10\0\x2a\x5d\x0a\x5b\x0a\x1c_hparams_/session_start_info\x4a\x3b\x0a\x39\x0a\x07hparams\x12\x2e\x1a\x2c",
        ];
        assert_eq!(start, [&head.concat()[..], &session].concat());
        let end = session_end(1.0);
        assert!(end.ends_with(&[b"\x22\x0b\x08\x01\x11", &ONE[1..]].concat()), "{end:?}");
    }
}
