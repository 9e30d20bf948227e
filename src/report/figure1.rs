//! Figure 1: the architecture, with the shapes and parameter counts of an actual model.

use crate::config::{Latent, Objective, PriorWeight};
use crate::error::{Error, Result};
use crate::model::config::DecoderConfig;
use crate::report::document::page::escape;
use std::fmt::Write;

/// What is drawn. `shapes` are those of the parameters that are trained, by name.
pub struct Architecture<'a> {
    pub model: &'a str,
    pub scale: &'a str,
    pub config: &'a DecoderConfig,
    pub latent: Latent,
    pub objectives: Vec<Objective>,
    pub shapes: Vec<(String, Vec<usize>)>,
}

// Okabe and Ito's palette, pale; the text says what each box is, colour only groups.
const PLAIN: &str = "#eeeeee";
const NETWORK: &str = "#cfe6f5";
const CODES: &str = "#fbe3b5";
const LOSS: &str = "#f6d5c3";
const WIDTH: u32 = 640;

/// The figure as SVG.
///
/// Errors: a policy without codes to draw.
pub fn svg(a: &Architecture) -> Result<String> {
    let (Some(codes), Some(said)) = (a.latent.codes(), said(a.latent)) else {
        return Err(Error::argument("figure1", "latent.mode", "no codes", "gumbel, exact-elbo or marginal"));
    };
    let (d, k, c) = (a.config.hidden_size, codes.codes, a.config);
    let count = |prefix: &str| thousands(a.parameters(|name| name.starts_with(prefix)));
    let (tied, head) = match c.tie_word_embeddings {
        true => (" (tied)", "no parameters of its own".to_string()),
        false => ("", format!("{} parameters", count("lm_head."))),
    };
    let decoder = a.parameters(|name| name.starts_with("model."));
    let Said { weights, sum, loss, posterior } = said;
    let objectives: Vec<String> = a.objectives.iter().map(name).collect();

    let mut s = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 620\" width=\"{WIDTH}\" height=\"620\" \
         font-family=\"sans-serif\" font-size=\"15\" fill=\"#282828\">\n<defs><marker id=\"a\" viewBox=\"0 0 8 8\" \
         refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/>\
         </marker></defs>\n<rect width=\"{WIDTH}\" height=\"620\" fill=\"white\"/>\n"
    );
    text(&mut s, 320, 26, &format!("LPC on {} ({} scale)", a.model, a.scale), true);
    block(&mut s, (40, 44, 560, 34), PLAIN, &["prompt x, chosen x‖y_w, rejected x‖y_l"]);
    let heads = format!(
        "{} blocks, d = {d}, {} heads ({} key-value), vocabulary {}",
        c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads, c.vocab_size
    );
    let decoder = format!("{} parameters", thousands(decoder));
    block(&mut s, (40, 104, 560, 74), PLAIN, &["Decoder", &heads, &decoder]);
    arrow(&mut s, 320, 78, 320, 102);
    let prior = [format!("{d} → {d} → {k}"), format!("{} parameters", count("lpc.prior."))];
    block(&mut s, (40, 222, 185, 76), NETWORK, &["Prior MLP: p(z | x)", &prior[0], &prior[1]]);
    label(&mut s, 132, 178, 220, "h_x");
    if posterior {
        let shape = format!("{} → {d} → {k}", 2 * d);
        let size = format!("{} parameters", count("lpc.posterior."));
        block(&mut s, (240, 222, 200, 76), NETWORK, &["Posterior MLP: q(z | pair)", &shape, &size]);
        label(&mut s, 300, 178, 220, "h_xw ; h_xl");
        arrow(&mut s, 340, 298, 340, 328);
    }
    arrow(&mut s, 132, 298, 132, 328);
    block(&mut s, (40, 330, 400, 56), CODES, &[&weights[0], &weights[1]]);
    arrow(&mut s, 240, 386, 240, 414);
    let book = format!("Codebook {k} × {d}: {} parameters", count("lpc.codebook"));
    block(&mut s, (40, 416, 400, 56), CODES, &[&book, sum]);
    label(&mut s, 530, 178, 428, "h_x,y<t");
    let _ = writeln!(s, "<circle cx=\"530\" cy=\"444\" r=\"15\" fill=\"white\" stroke=\"#282828\"/>");
    text(&mut s, 530, 449, "+", true);
    arrow(&mut s, 440, 444, 513, 444);
    text(&mut s, 477, 436, "h_z", false);
    arrow(&mut s, 530, 459, 530, 488);
    let shape = format!("{d} → {}{tied}", c.vocab_size);
    block(&mut s, (440, 490, 180, 48), PLAIN, &[&format!("LM head {shape}"), &head]);
    arrow(&mut s, 530, 538, 530, 556);
    block(&mut s, (40, 558, 580, 54), LOSS, &[&loss, &objectives.join(" | ")]);
    s.push_str("</svg>\n");
    Ok(s)
}

/// What the boxes of codes and loss say.
struct Said {
    weights: [String; 2],
    sum: &'static str,
    loss: String,
    /// Whether the box of the posterior is drawn.
    posterior: bool,
}

/// None for a latent without codes.
fn said(latent: Latent) -> Option<Said> {
    let every = "h_z = e_k, one pass a code";
    let weighed = |loss: &str, weight: f64| format!("{loss} + λ·KL(q ‖ p), λ = {weight}");
    Some(match latent {
        Latent::Gumbel { gumbel_tau, prior_weight, kl_weight, .. } => Said {
            weights: [
                format!("w = (1 − α)·g(q) + α·g(p), g: Gumbel softmax, τ = {gumbel_tau}"),
                match prior_weight {
                    PriorWeight::Linear {} => "α: 0 → 1 over training".to_string(),
                    PriorWeight::Fixed { value } => format!("α = {value}"),
                },
            ],
            sum: "h_z = Σ w_k·e_k",
            loss: weighed("Loss at h_z", kl_weight),
            posterior: true,
        },
        Latent::ExactElbo { kl_weight, .. } => Said {
            weights: ["every code z = k, weighed by q".into(), "no sample".into()],
            sum: every,
            loss: weighed("Loss: expectation over q", kl_weight),
            posterior: true,
        },
        Latent::Marginal { .. } => Said {
            weights: ["every code z = k, weighed by p".into(), "no sample, no posterior".into()],
            sum: every,
            loss: "Loss: likelihood (6), summed over p".into(),
            posterior: false,
        },
        Latent::None {} | Latent::Control { .. } | Latent::Gaussian { .. } | Latent::Factors { .. } => {
            return None;
        }
    })
}

impl Architecture<'_> {
    fn parameters(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.shapes.iter().filter(|(n, _)| wanted(n)).map(|(_, s)| s.iter().product::<usize>()).sum()
    }
}

fn name(objective: &Objective) -> String {
    match *objective {
        Objective::Dpo { beta } => format!("DPO, β = {beta}"),
        Objective::Ipo { ipo_tau } => format!("IPO, τ = {ipo_tau}"),
        Objective::Simpo { beta, gamma } => format!("SimPO, β = {beta}, γ = {gamma}"),
        Objective::Gpo { member, beta } => format!("{member:?}, β = {beta}"),
    }
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| str::from_utf8(g).ok()).collect();
    groups.join(",")
}

fn text(s: &mut String, x: u32, y: u32, line: &str, bold: bool) {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let _ = writeln!(s, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\"{weight}>{}</text>", escape(line));
}

fn block(s: &mut String, (x, y, width, height): (u32, u32, u32, u32), fill: &str, lines: &[&str]) {
    let _ = writeln!(
        s,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{fill}\" stroke=\"#282828\"/>"
    );
    let top = y + (height - 21 * lines.len() as u32) / 2;
    for (i, line) in lines.iter().enumerate() {
        text(s, x + width / 2, top + 16 + 21 * i as u32, line, i == 0 && lines.len() > 1);
    }
}

fn arrow(s: &mut String, x1: u32, y1: u32, x2: u32, y2: u32) {
    let _ = writeln!(
        s,
        "<path d=\"M{x1} {y1}L{x2} {y2}\" stroke=\"#282828\" stroke-width=\"1.4\" marker-end=\"url(#a)\"/>"
    );
}

/// An arrow down with its name to the right of its beginning.
fn label(s: &mut String, x: u32, y1: u32, y2: u32, name: &str) {
    arrow(s, x, y1, x, y2);
    let _ = writeln!(s, "<text x=\"{}\" y=\"{}\">{}</text>", x + 8, y1 + 24, escape(name));
}
