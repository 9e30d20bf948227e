//! A picture of a run's latents.

use crate::eval::clusters::AgainstNull;

/// Latents in two dimensions, and how well they tell sources apart in all of theirs.
pub struct Map {
    /// t-SNE's coordinates.
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    /// A number a point.
    pub silhouette: Vec<f64>,
    pub vote_right: Vec<f64>,
    /// Their means.
    pub mean_silhouette: AgainstNull,
    pub vote_accuracy: AgainstNull,
}

/// The means of [`Map`] for other latents of the same pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    pub silhouette: f64,
    pub vote_accuracy: f64,
}
