//! A recipe to change a few fields of.

use lpc::config::*;

/// DPO on the built-in world, without a latent.
pub fn toy_recipe() -> Recipe {
    Recipe {
        seed: 1,
        template_date: None,
        model: ModelSource::World { shape: Shape::Llama },
        data: DataSource::World(World { seed: 1, train: 16, test: 20, ..World::default() }),
        truncation: Truncation { max_length: 64, max_prompt_length: 32 },
        objective: Objective::Dpo { beta: 0.1 },
        latent: Latent::None {},
        training: Training {
            dtype: Precision::F32,
            epochs: 1,
            batch_size: 8,
            micro_batch_size: 8,
            learning_rate: 1e-3,
            warmup_ratio: 0.1,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.95,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            recompute: false,
            memory: lpc::config::Memory::Tensors {},
            checkpoint_every: 4,
        },
        evaluation: Evaluation { latent: LatentAtTest::Mean },
    }
}
