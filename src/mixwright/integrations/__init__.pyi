from mixwright.integrations.transformers import use_mixture as use_mixture
