"""A sweep as other tools show it: Optuna, TensorBoard, Weights & Biases. Imports the journal."""
