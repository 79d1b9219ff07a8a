from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

revision = "86b5e0934494bd15c9632b12f734a8a67f723594"
# expect: REP107 possible
model = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased", num_labels=3, revision=revision)
trainer = Trainer(model=model, args=TrainingArguments(output_dir="x"), train_dataset=None)
trainer.train()
