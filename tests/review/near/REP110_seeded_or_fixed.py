import albumentations as A
from albumentations.pytorch import ToTensorV2

train_transform = A.Compose([A.RandomCrop(224, 224), A.HorizontalFlip(p=0.5)], seed=137)
valid_transform = A.Compose([A.Resize(224, 224), A.Normalize(), ToTensorV2()])
print(train_transform, valid_transform)
