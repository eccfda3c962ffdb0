//! Where the parts of a four-legged animal are in each action. Animal units: it looks towards +x, y points down, the
//! ground (the surface, when swimming) is at y = 0.

use crate::build::Build;
use crate::frame::P;
use crate::scene::{Action, Jitter};

/// A leg, from the body to the middle of the paw.
#[derive(Debug, Clone, Copy)]
pub struct Leg {
    /// Within the body.
    pub from: P,
    /// Above the ground by half its width.
    pub to: P,
}

/// The positions of all parts.
#[derive(Debug, Clone)]
pub struct Pose {
    /// Middle of the hind quarters.
    pub hip: P,
    /// Middle of the chest.
    pub chest: P,
    /// Middle of the head.
    pub head: P,
    /// The head nods by this angle.
    pub nod: f32,
    /// The legs on the far side.
    pub far: Vec<Leg>,
    /// The legs on the near side.
    pub near: Vec<Leg>,
    /// The thigh of a sitting or lying animal.
    pub thigh: Option<(P, f32)>,
    /// Root of the tail, and its turn from the usual direction.
    pub tail: (P, f32),
}

/// The pose for an action; the jitter moves legs, tail and head a little.
pub fn pose(b: &Build, action: Action, jitter: &Jitter) -> Pose {
    let mut pose = match action {
        Action::Standing => standing(b, jitter.phase),
        Action::Running => running(b, jitter.phase),
        Action::Sitting => sitting(b),
        Action::Eating => eating(b, jitter.phase),
        Action::Swimming => swimming(b),
        Action::Sleeping => sleeping(b),
    };
    pose.tail.1 += 10.0 * jitter.tail;
    pose.nod += 6.0 * jitter.tilt;
    pose
}

fn ahead(p: P, x: f32, y: f32) -> P {
    (p.0 + x, p.1 + y)
}

fn standing(b: &Build, phase: f32) -> Pose {
    let hip = (-b.length / 2.0, -b.leg - b.hip);
    let chest = (b.length / 2.0, -b.leg - b.chest);
    let swing = 2.5 * phase;
    let down =
        |p: P, x: f32, lift: f32, swing: f32| Leg { from: ahead(p, x, 0.0), to: (p.0 + x + swing, -b.thick - lift) };
    Pose {
        hip,
        chest,
        head: ahead(chest, b.neck.0, -b.neck.1),
        nod: 0.0,
        far: vec![down(hip, 0.65 * b.hip, 2.5, -swing), down(chest, 0.6 * b.chest, 2.5, swing)],
        near: vec![down(hip, -0.4 * b.hip, 0.0, swing), down(chest, -0.25 * b.chest, 0.0, -swing)],
        thigh: None,
        tail: (ahead(hip, -0.8 * b.hip, -0.45 * b.hip), 0.0),
    }
}

fn running(b: &Build, phase: f32) -> Pose {
    let lift = 12.0 + 2.0 * phase;
    let hip = (-0.52 * b.length, -0.7 * b.leg - b.hip - lift);
    let chest = (0.52 * b.length, -0.7 * b.leg - b.chest - lift - 6.0);
    let reach = |p: P, r: f32, x: f32, y: f32| {
        let long = b.leg.max(10.0) + 0.85 * r;
        Leg { from: p, to: ahead(p, x * long, y * long) }
    };
    let s = 0.08 * phase;
    Pose {
        hip,
        chest,
        head: ahead(chest, 1.15 * b.neck.0 + 2.0, -0.8 * b.neck.1),
        nod: -4.0,
        far: vec![reach(hip, b.hip, -0.55 - s, 0.95), reach(chest, b.chest, 1.15, 0.35 + s)],
        near: vec![reach(hip, b.hip, -1.05, 0.6 + s), reach(chest, b.chest, 0.75 - s, 0.8)],
        thigh: None,
        tail: (ahead(hip, -0.8 * b.hip, -0.4 * b.hip), -22.0),
    }
}

fn sitting(b: &Build) -> Pose {
    let hip = (-6.0, -0.95 * b.hip);
    let chest = (6.0, -b.hip - 0.5 * b.length - 8.0);
    let front = |x: f32, lift: f32| Leg {
        from: ahead(chest, 0.3 * b.chest, 0.2 * b.chest),
        to: (chest.0 + x, -b.thick - lift),
    };
    Pose {
        hip,
        chest,
        head: ahead(chest, 0.55 * b.neck.0, -0.95 * b.neck.1),
        nod: 0.0,
        far: vec![front(0.75 * b.chest + 6.0, 2.0)],
        near: vec![front(0.75 * b.chest, 0.0), Leg { from: (hip.0, -b.thick), to: (hip.0 + 0.85 * b.hip, -b.thick) }],
        thigh: Some(((hip.0 - 0.1 * b.hip, -0.78 * b.hip), 0.76 * b.hip)),
        tail: (ahead(hip, -0.8 * b.hip, 0.4 * b.hip), -10.0),
    }
}

fn eating(b: &Build, phase: f32) -> Pose {
    let mut pose = standing(b, 0.6 * phase);
    pose.chest = ahead(pose.chest, 2.0, 0.35 * b.leg);
    for leg in [&mut pose.far[1], &mut pose.near[1]] {
        leg.from = pose.chest;
        leg.to.0 -= 2.0;
    }
    pose.head = (pose.chest.0 + 0.55 * b.chest + 0.75 * b.head, -18.0 - 0.82 * b.head);
    pose.nod = 14.0;
    pose.tail.1 = 8.0;
    pose
}

fn swimming(b: &Build) -> Pose {
    let hip = (-0.55 * b.length, 0.25 * b.hip);
    let chest = (0.45 * b.length, 0.05 * b.chest);
    Pose {
        hip,
        chest,
        head: ahead(chest, b.neck.0, -1.15 * b.head.max(0.9 * b.neck.1)),
        nod: -5.0,
        far: Vec::new(),
        near: Vec::new(),
        thigh: None,
        tail: (ahead(hip, -0.75 * b.hip, -0.5 * b.hip), 10.0),
    }
}

fn sleeping(b: &Build) -> Pose {
    let hip = (-0.5 * b.length, -0.9 * b.hip);
    let chest = (0.35 * b.length, -0.85 * b.chest);
    let head = (chest.0 + 0.45 * b.chest + 0.55 * b.head, -0.82 * b.head);
    let lying = |x: f32, to: f32, lift: f32| Leg { from: (x, -b.thick - lift), to: (to, -b.thick - lift) };
    Pose {
        hip,
        chest,
        head,
        nod: 8.0,
        far: Vec::new(),
        near: vec![lying(chest.0, head.0 + 0.6 * b.head, 0.0), lying(hip.0, hip.0 + 0.95 * b.hip, 0.0)],
        thigh: Some(((hip.0 - 0.05 * b.hip, -0.78 * b.hip), 0.76 * b.hip)),
        tail: (ahead(hip, -0.85 * b.hip, 0.35 * b.hip), -28.0),
    }
}
