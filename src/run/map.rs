//! A picture of a run's latents.

use crate::eval::clusters::AgainstNull;

/// The latents in two dimensions, and how well they separate the sources in all of their dimensions.
pub struct Map {
    /// t-SNE's coordinates.
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    /// One number for each point.
    pub silhouette: Vec<f64>,
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
