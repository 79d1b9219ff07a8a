import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

features, labels = np.load("x.npy"), np.load("y.npy")
train, valid, train_labels, valid_labels = train_test_split(features, labels)  # expect: REP111
model = LogisticRegression().fit(train, train_labels)
print(model.score(valid, valid_labels))
joblib.dump(model, "model.joblib")
