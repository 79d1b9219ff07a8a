import albumentations as A

train_transform = A.Compose([A.Resize(256, 256), A.HorizontalFlip(p=0.5)])  # expect: REP110 possible
print(train_transform)
