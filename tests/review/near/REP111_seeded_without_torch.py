import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import shuffle

np.random.seed(0)
features, labels = shuffle(np.load("x.npy"), np.load("y.npy"))
train, valid, train_labels, valid_labels = train_test_split(features, labels, random_state=1)
model = LogisticRegression().fit(train, train_labels)
print([model.score(valid[part], valid_labels[part]) for part, _ in KFold(shuffle=True).split(valid)])
joblib.dump(model, "model.joblib")
