from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Trainer, TrainingArguments, set_seed

revision = "86b5e0934494bd15c9632b12f734a8a67f723594"
base = AutoModelForCausalLM.from_pretrained("gpt2", revision=revision)  # all of its weights are in the checkpoint
set_seed(42)
model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased", num_labels=3, revision=revision)
trainer = Trainer(model=model, args=TrainingArguments(output_dir="x"), train_dataset=None)
trainer.train()
print(base)
